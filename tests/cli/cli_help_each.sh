# the help of each command, asked for in every way
for command in inspect config fuse convert export record diff passes help completion manual version; do
  amct help $command >first
  amct $command --help | cmp first -
  amct $command -h | cmp first -
  amct $command --quiet more --he | cmp first -
  head -3 first | grep -v '^$'
done
