# several inputs: each by its name, a folder or an archive, with the same samples
export AMCT_ENGINE_DIR=nothing
text_to_pb >two.pb <<'NET'
a = Placeholder() {shape=[?,2], dtype=float32}
b = Placeholder() {shape=[4,2]}
c = Placeholder() {shape=[?,?]}
d = Placeholder() {shape=[1]}
w = Const() {value=float[2,2](1,2,3,4)}
s = AddN(a, b)
y = MatMul(s, w)
z = MatMul(c, w)
u = Identity(d)
NET
try() {
  echo "\$ calibrate$(printf " %q" "$@")"
  amct calibrate --model two.pb --save_path out/net "$@" 2>&1
  echo "exit $?"
}
mkdir folder
head -c 32 /dev/zero >four.bin
head -c 16 /dev/zero >folder/1.bin
head -c 16 /dev/zero >folder/2.bin
head -c 24 /dev/zero >three.bin
try --outputs y --data four.bin
try --outputs y --data a=four.bin
try --outputs y --data "a=four.bin;b=three.bin"
try --outputs y --data "a=four.bin;b=folder"
try --outputs y --data "a=folder;b=folder"
try --outputs y --data "a=folder;b:0=folder" --batch_size 3
try --outputs y --data "a=folder;b=four.bin" --batch_size 4
try --outputs z --data "a=four.bin"
try --outputs z --data "c=four.bin"
try --outputs y,z --data "a=four.bin"
try --outputs "y:1" --data "a=four.bin"
try --outputs "w" --data "a=four.bin"
cp "$DATA/../../fuzz/corpus/arrays/seed_npz_two" two.npz
try --outputs y --data "a=two.npz"
npy() { # file, shape, bytes of zeros
  printf '\x93NUMPY\x01\x00\x76\x00' >"$1"
  printf "%-117s\n" "{'descr': '<f4', 'fortran_order': False, 'shape': ($2), }" >>"$1"
  head -c "$3" /dev/zero >>"$1"
}
npy narrow.npy '4, 2' 32
npy wide.npy '4, 3' 48
npy deep.npy '4, 2, 1' 32
try --outputs z --data "c=narrow.npy;c=wide.npy"
try --outputs z --data "c=narrow.npy;c=deep.npy"
head -c 4 /dev/zero >one.bin
try --outputs u --data d=one.bin
ls
