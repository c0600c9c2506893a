# equal models, in another order and with values written otherwise
{ tail -1 "$DATA/net.txt"; sed '$d' "$DATA/net.txt"; } | text_to_pb >other.pb
amct diff net.pb other.pb
