# the report of a model
amct inspect --model net.pb
