# data that cannot be: each named, before any engine is looked for
export AMCT_ENGINE_DIR=nothing
npy() { # file, dtype, shape, bytes of zeros
  printf '\x93NUMPY\x01\x00\x76\x00' >"$1"
  printf "%-117s\n" "{'descr': '$2', 'fortran_order': ${5:-False}, 'shape': ($3), }" >>"$1"
  head -c "$4" /dev/zero >>"$1"
}
try() {
  echo "\$ calibrate$(printf " %q" "$@")"
  amct calibrate --model net.pb --outputs fc --save_path out/net "$@" 2>&1 | sed -E 's/^[-0-9 :,]+ - //'
  echo "exit ${PIPESTATUS[0]}"
}
npy good.npy '<f4' '2, 8, 8, 3' 1536
npy double.npy '<f8' '2, 8, 8, 3' 3072
npy big_endian.npy '>f4' '2, 8, 8, 3' 1536
npy fortran.npy '<f4' '2, 8, 8, 3' 1536 True
npy wide.npy '<f4' '2, 9, 9, 3' 1944
npy flat.npy '<f4' '12,' 48
npy none.npy '<f4' '0, 8, 8, 3' 0
npy cut.npy '<f4' '2, 8, 8, 3' 1500
npy huge.npy '<f4' '4000000000, 4000000000, 4000000000, 4' 0
npy one.npy '<f4' '8, 8, 3' 768
printf 'no array' >text.npy
printf '\x93NUMPY\x09\x00\x76\x00' >version.npy
printf '\x93NUMPY\x01\x00\xff\x7f{}' >head.npy
printf '\x93NUMPY\x01\x00\x14\x00%-20s' "{'descr': '<f4'}" >order.npy
cp "$DATA/../../fuzz/corpus/arrays/seed_npz_two" two.npz
printf 'PK no zip' >text.npz
head -c 769 /dev/zero >odd.bin
: >empty.bin
mkdir empty mixed
cp good.npy mixed/2.npy
cp good.npy mixed/10.npy
echo hello >mixed/notes.txt
try --data missing.npy
try --data text.npy
try --data version.npy
try --data head.npy
try --data order.npy
try --data double.npy
try --data big_endian.npy
try --data fortran.npy
try --data wide.npy
try --data flat.npy
try --data none.npy
try --data cut.npy
try --data huge.npy
try --data text.npz
try --data two.npz
try --data odd.bin
try --data empty.bin
try --data net.pb
try --data empty
try --data y=good.npy
try --data "good.npy;wide.npy"
try --data good.npy --batch_num 2
try --data good.npy --engine onnx
amct config --model net.pb --config c.json --batch_num 4
try --data good.npy --config c.json
try --data good.npy --config c.json --batch_num 4
try --data mixed --batch_num 3 --quiet
try --data mixed --batch_num 1
try --data good.npy --preset best
try --data good.npy --config c.json --preset accurate
try --data x=one.npy
ls
