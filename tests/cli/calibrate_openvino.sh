# an OpenVINO that fails where it can: each in its own words; no model is left
export AMCT_ENGINE_DIR
AMCT_ENGINE_DIR=$(dirname "$(command -v text_to_pb)")/../cli/fake
text_to_pb >small.pb <<'NET'
x = Placeholder() {shape=[?,4], dtype=float32}
w = Const() {value=float[4,2](ramp)}
fc = MatMul(x, w)
NET
head -c 32 /dev/zero >x.bin
try() {
  echo "\$ $*"
  AMCT_FAKE=$1 amct calibrate --model small.pb --outputs fc --data x.bin --save_path out/net --engine "${2:-openvino}" 2>&1 |
    sed "s|$AMCT_ENGINE_DIR|FOLDER|"
  echo "exit ${PIPESTATUS[0]}"
}
try nothing
rm -r out
for function in ov_get_openvino_version ov_core_create ov_core_read_model ov_model_inputs_size \
  ov_model_const_input_by_index ov_port_get_any_name ov_port_get_partial_shape ov_port_get_element_type \
  ov_model_const_output_by_name ov_model_reshape_by_port_indexes ov_core_compile_model \
  ov_compiled_model_create_infer_request ov_tensor_create_from_host_ptr ov_infer_request_set_input_tensor_by_index \
  ov_infer_request_infer ov_infer_request_get_tensor ov_tensor_get_shape ov_tensor_get_byte_size ov_tensor_data; do
  try $function
done
for wrong in age silence "no input" "other input" doubles; do try "$wrong"; done
find out -type f
# libraries that lack functions
mkdir -p other/openvino/libs other/tensorflow
ln -s "$(dirname "$(command -v amct)")/../lib/libamctcore.so" other/openvino/libs/libopenvino_c.so.1
ln -s ../openvino/libs/libopenvino_c.so.1 other/tensorflow/libtensorflow_cc.so.2
AMCT_ENGINE_DIR=other
try nothing
try nothing tensorflow
