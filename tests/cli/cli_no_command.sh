# nothing asked: the list of commands on standard error
# exit: 2
amct 2>given
code=$?
amct help | cmp - given
exit $code
