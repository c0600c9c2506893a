# a quantized model in stock ops; a float one is refused
# exit: 1
amct convert --model net.pb --outputs "fc;side" --record "$DATA/net_record.txt" --save_path net
amct export --model net_quantized.pb --save_path out/
amct inspect --model out/stock.pb --json | grep 'reason.*Ascend\|quantized_by'
amct export --model net.pb --save_path net
