# from a simplified configuration; an existing file is replaced, with a warning that --quiet leaves out
printf 'batch_num: 3\nskip_layers: "conv2"\n' >quant.cfg
amct config --model net.pb --config c.json --config_defination quant.cfg
amct config --model net.pb --config c.json --config-defination quant.cfg
amct config --model net.pb --config c.json --config-defination quant.cfg --quiet
amct config --model net.pb --config d.json --config-defination quant.cfg --batch_num 7 --skip_layers fc
cmp c.json d.json
grep 'batch_num\|conv\|pool\|quant_enable' c.json
