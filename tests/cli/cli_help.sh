# the list of commands
amct help
