# quantized by the ranges of its own fake quantization; a layer without stays float
text_to_pb <"$DATA/fake.txt" >fake.pb
amct convert --model fake.pb --outputs prob --factors out/record.txt --save_path out/net
ls out
amct inspect --model out/net_quantized.pb --json | grep -E "Ascend|FakeQuant"
amct record --print out/record.txt
echo "float: $(amct convert --model net.pb --outputs fc --save_path out/none 2>&1)"
