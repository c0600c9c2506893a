# what fish reads, made from the table
amct completion fish >script
cat script
if command -v fish >/dev/null; then fish -n script; fi
