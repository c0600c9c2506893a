# a record that fits, and one that does not
# exit: 1
amct record --check "$DATA/net_record.txt" --model net.pb --outputs "fc;side" | sed 's/.*net_/net_/'
sed 's/conv1/conv9/' "$DATA/net_record.txt" >r.txt
amct record --check r.txt --model net.pb
