# layers of one only, and each field that differs
# exit: 1
small="$DATA/../../data/record_small.txt"
sed 's/0.0315063596/0.0316/; s/offset_d: -5/offset_d: -6/; s/shift_bit: 3/shift_bit: 3 shift_bit: 4/
     s/skip_fusion: true/skip_fusion: false/; s/AvgPool/MaxPool/; s/scale_d: 0.031$/scale_d: 0.031 skip_fusion: true/' "$small" >other.txt
amct record --compare "$small" "$small" || exit 9
amct record --compare="$small" other.txt
