# nothing declined, nothing left float
grep -v 'bn2\|flat\|fc\|side' "$DATA/net.txt" | text_to_pb >clean.pb
amct inspect --model clean.pb --strict >/dev/null
