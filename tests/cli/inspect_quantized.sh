# a model that is quantized already is looked at, and not planned for
amct convert --model net.pb --outputs "fc;side" --record "$DATA/net_record.txt" --save_path net
amct inspect --model net_quantized.pb | grep 'quantized\|Ascend\|layers\|fusions'
amct inspect --model net_quantized.pb --json | grep '"quantized_by"'
