# quantized with a record of the user's own
amct convert --model net.pb --outputs "fc;side" --record "$DATA/net_record.txt" --save_path out/net
ls out
amct inspect --model out/net_quantized.pb --json | grep Ascend
