# a retrained model, its retraining ops taken out again
text_to_pb <"$DATA/retrained.txt" >retrained.pb
printf 'record { key: "conv" value { scale_d: 0.00980392192 offset_d: -26 scale_w: 0.4 scale_w: 0.5 offset_w: 0 offset_w: 0 } }' >r.txt
amct convert --retrained --model retrained.pb --outputs prob --record r.txt --save_path out/net
ls out
amct inspect --model out/net_quantized.pb --json | grep -E "Ascend|Ulq|Arq"
echo "without: $(amct convert --model retrained.pb --outputs prob --record r.txt --save_path out/no 2>&1)"
echo "never: $(amct convert --retrained --model net.pb --outputs fc --record r.txt --save_path out/no 2>&1)"
echo "no record: $(amct convert --retrained --model net.pb --outputs fc --save_path out/no 2>&1)"
