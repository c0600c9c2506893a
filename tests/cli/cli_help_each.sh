# the help of each command, asked for in every way
for command in $(amct help | sed -n '/^commands$/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  echo "== $command"
  amct help $command >first
  amct $command --help | cmp first -
  amct $command -h | cmp first -
  amct $command --quiet more --he | cmp first -
  head -3 first | grep -v '^$'
done
