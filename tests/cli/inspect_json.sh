# the same as JSON; model outputs as given
amct inspect --model net.pb --outputs "fc;side" --json >first
amct inspect --mo=net.pb --outputs fc --out side --js >second
cmp first second
cat first
python3 -c 'import json, sys; json.load(open("first"))'
