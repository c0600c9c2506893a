# what zsh reads, made from the table
amct completion zsh >script
cat script
if command -v zsh >/dev/null; then zsh -n script; fi
