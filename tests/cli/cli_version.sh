# the version, in two ways
amct version | grep -c '^amct [0-9]'
amct --version | cmp - <(amct version)
