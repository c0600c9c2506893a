# fused, and how it differs
# exit: 1
amct fuse --model net.pb --outputs "fc:0;side" --save_path out/
amct diff net.pb out/fused.pb
