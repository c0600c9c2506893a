# constants of four hundred million values, which nobody expands: each file under a kilobyte
# exit: 1
net() {
  printf 'a = Const() {value=float[400000000](%s)}\nb = Const() {value=bool[400000000](true,%s)}\n' "$@" | text_to_pb
}
net 1,2,3 false >first.pb
net 1,2.5,3 true >second.pb
amct diff first.pb second.pb
