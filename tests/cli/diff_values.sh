# constants, attributes and ops that changed
# exit: 1
sed 's/^w1 *=.*/w1 = Const() {value=float[3,3,3,2](0.5,-0.25,0.125,0.7)}/
     s/^s *=.*/s = Const() {value=int32[2](-1,3)}/
     s/^w2 *=.*/w2 = Const() {value=float[1,1,2,3](1,0.5,0.25,-1,0,0)}/
     s/epsilon=0.001, is_training=false/epsilon=0.002/
     s/Relu(bn1)/Relu6(bn1) @"\/cpu:0"/' "$DATA/net.txt" | text_to_pb >other.pb
amct diff net.pb other.pb
