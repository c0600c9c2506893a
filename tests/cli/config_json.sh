# the configuration, with every option
amct config --model net.pb --config out/c.json --batch_num 4 --no_activation_offset --skip_layers "type:AvgPool;conv2" --verbose
cat out/c.json
