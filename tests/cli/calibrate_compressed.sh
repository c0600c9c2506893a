# compressed .npz: without zlib, and archives that say what cannot be
export AMCT_ENGINE_DIR=nothing
entry() { # file, offset in the archive's directory, bytes
  local start
  start=$(grep -abo $'PK\x01\x02' packed.npz | cut -d: -f1)
  cp packed.npz "$1"
  printf "$3" | dd of="$1" bs=1 seek=$((start + $2)) conv=notrunc status=none
}
try() {
  echo "\$ calibrate$(printf " %q" "$@")"
  amct calibrate --model net.pb --outputs fc --save_path out/net "$@" 2>&1
  echo "exit $?"
}
cp "$DATA/../../fuzz/corpus/arrays/seed_npz_packed" packed.npz
entry method.npz 10 '\x0e'
entry encrypted.npz 8 '\x01'
entry bomb.npz 24 '\xff\xff\xff\x7f'
entry beyond.npz 20 '\xff\xff\xff\x7f'
mkdir lib
echo text >lib/libz.so.1
try --data packed.npz
LD_LIBRARY_PATH=lib try --data packed.npz
try --data method.npz
try --data encrypted.npz
try --data bomb.npz
try --data beyond.npz
ls
