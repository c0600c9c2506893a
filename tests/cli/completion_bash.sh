# what bash would offer
source <(amct completion bash)
complete -p amct
touch model.pb
offer() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  _amct
  echo "$* -> ${COMPREPLY[*]}"
}
offer amct co
offer amct inspect --m
offer amct inspect --model mod
offer amct config --model model.pb --no
offer amct help pa
offer amct completion ""
offer amct diff mod
