# the configuration of retraining
amct config --retrain --model net.pb --config out/c.json
cat out/c.json
echo 'batch_num: 3 skip_layers: "type:AvgPool"' >r.cfg
amct config --retrain --model net.pb --config out/d.json --config_defination r.cfg
grep -c '"retrain_enable":true' out/d.json
echo "both: $(amct config --retrain --model net.pb --config out/c.json --batch_num 3 2>&1)"
