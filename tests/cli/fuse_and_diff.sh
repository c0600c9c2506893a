# fused, and how it differs
# exit: 1
amct fuse --model net.pb --outputs "fc;side" --save_path out/
amct diff net.pb out/fused.pb
