# what fails: one line on standard error, exit code 1, no file
try() {
  echo "\$ amct$(printf " %q" "$@")"
  amct "$@" 2>&1
  echo "exit $?"
}
printf 'no graph' >bad.pb
printf 'no record' >bad.txt
: >empty.txt
try inspect --model none.pb
try inspect --model bad.pb
try config --model none.pb --config c.json
try config --model net.pb --config c.json --skip_layers conv9
try config --model net.pb --config c.json --config_defination none.cfg
try fuse --model bad.pb --outputs fc --save_path out/net
try convert --model net.pb --outputs fc --record bad.txt --save_path out/net
try convert --model net.pb --outputs fc --record empty.txt --save_path out/net
try convert --model bad.pb --outputs fc --save_path out/net
try convert --model net.pb --outputs fc --save_path out/net
try export --model net.pb --save_path out/net
try export --model none.pb --save_path out/net
text_to_pb >observed.pb <<'NET'
y = Placeholder() {shape=[?,4], dtype=float32}
o = QuantIfmr(y)
NET
try export --model observed.pb --save_path out/net
amct convert --quiet --model net.pb --outputs fc --record "$DATA/net_record.txt" --save_path q
cat q_quantized.pb observed.pb >both.pb # of two graphs protobuf makes one
try export --model both.pb --save_path out/net
rm observed.pb both.pb q_*
try convert --model net.pb --outputs fc --record empty.txt --save_path out/net --retrained
try convert --model net.pb --outputs fc --save_path out/net --retrained
try record --check bad.txt --model net.pb
try record --check empty.txt --model net.pb
try record --print none.txt
try record --compare none.txt bad.txt
try diff net.pb none.pb
try diff bad.pb net.pb
try inspect --model $'no\nsuch\033[2Jfile'
mkdir -p saved
touch saved/saved_model.pb net.keras net.h5 ckpt.meta
for model in saved saved/saved_model.pb net.keras net.h5 ckpt.meta; do try inspect --model "$model"; done
rm -r saved net.keras net.h5 ckpt.meta
ls
