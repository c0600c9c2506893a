# the rules in their order, short and long
rules="$DATA/../../../src/rewrite/rules.def"
sed -n 's/^RULE(\([a-z_]*\), *"\(.*\)")$/\1 \2/p' "$rules" >wanted
amct passes | tr -s ' ' | cmp - wanted
amct passes --long | grep -v '^    ' | tr -s ' ' | cmp - wanted
amct passes --long | grep -A 2 '^fold_conv_bn'
test "$(amct passes --long | grep -c '^    before\|^    after')" = $((2 * $(wc -l <wanted)))
