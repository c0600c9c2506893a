# from a simplified configuration; an existing file is replaced, with a warning that --quiet leaves out
printf 'batch_num: 3\nskip_layers: "conv2"\n' >quant.cfg
amct config --model net.pb --config c.json --config_defination quant.cfg
amct config --model net.pb --config c.json --config-defination quant.cfg
amct config --model net.pb --config c.json --config-defination quant.cfg --quiet
grep 'batch_num\|conv\|pool\|quant_enable' c.json
