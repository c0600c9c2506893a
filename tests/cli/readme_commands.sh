# the commands that the README shows, on the network of the example
cp "$DATA/../../../examples/fashion/fashion.pb" model.pb
printf 'record { key: "stem/Conv2D" value { scale_d: 0.01 offset_d: -128 scale_w: 0.02 offset_w: 0 } }\n' >record.txt
cp record.txt old.txt
sed -n 's/^    amct \(.*\)/\1/p' "$DATA/../../../README.md" | sed 's/  *#.*//' >commands
while read -r line; do
  eval "amct $line" >given || echo "exit $?: amct $line"
done <commands
test "$(wc -l <commands)" -gt 5 && ls out
