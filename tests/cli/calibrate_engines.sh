# no engine, one that is no library, one that is too old; an empty record is not left behind
head -c 1536 /dev/zero >x.bin
try() {
  echo "\$ calibrate$(printf " %q" "$@")"
  amct calibrate --model net.pb --outputs fc --data x.bin --save_path out/net "$@" 2>&1
  echo "exit $?"
}
mkdir -p none old/tensorflow_core young/tensorflow bad/openvino/libs bad/tensorflow
: >old/tensorflow_core/libtensorflow_framework.so.1
: >young/tensorflow/libtensorflow_framework.so.2
echo text >bad/openvino/libs/libopenvino_c.so.9999
echo text >bad/tensorflow/libtensorflow_cc.so.2
try --engine_dir none
try --engine_dir none --engine openvino
try --engine_dir old --engine tensorflow
try --engine_dir young --engine tensorflow
try --engine_dir bad --engine openvino
try --engine_dir bad --engine tensorflow
AMCT_ENGINE_DIR=none:old try --engine tensorflow
AMCT_ENGINE_DIR=old try
ls
