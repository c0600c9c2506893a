# a report that cannot be written
# exit: 1
amct passes >/dev/full
