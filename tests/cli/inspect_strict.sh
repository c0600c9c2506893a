# a declined fusion and a float layer
# exit: 3
amct inspect --model net.pb --strict >/dev/null
