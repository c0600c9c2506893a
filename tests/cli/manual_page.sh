# the page has each command and option; man has nothing to say against it where it is installed
amct manual >page
for command in $(amct help | sed -n '/^commands/,/^$/s/^  \([a-z]*\).*/\1/p'); do
  grep -c "^\.SS amct $command " page
  amct help "$command" | sed -n '/^options$/,/^$/s/^  --\([a-z_]*\).*/\1/p' | while read -r option; do
    grep -q "^\.B .-.-$option" page || echo "no $option"
  done
done | sort | uniq -c | tr -s ' '
if command -v groff >/dev/null; then groff -man -ww -z page; fi
