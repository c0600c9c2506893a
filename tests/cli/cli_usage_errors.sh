# command lines that cannot be: a line that says why, exit code 2
try() {
  echo "\$ amct $*"
  amct "$@" 2>&1
  echo "exit $?"
}
try frobnicate
try --model net.pb
try inspect
try inspect --model
try inspect --model=
try inspect --model net.pb --model net.pb
try inspect --model net.pb --frob
try inspect --model net.pb -x
try inspect --model net.pb --=1
try inspect --model net.pb --json=1
try inspect --model net.pb --outputs "fc;;side"
try inspect --model net.pb --outputs "fc:0;side:1"
try inspect --model net.pb --outputs "fc:"
try inspect --model net.pb --outputs "fc:0:0"
try inspect --model net.pb --outputs ":0"
try inspect --model net.pb --outputs nothing
try inspect --model net.pb more
try inspect --model net.pb --quiet --verbose
try config --model net.pb --config c.json --batch_num 0
try config --model net.pb --config c.json --batch_num 1e3
try config --model net.pb --config c.json --batch_num 99999999999999999999
try config --model net.pb --con c.json
try fuse --model net.pb --outputs fc
try convert --model net.pb --outputs fc
try record
try record --print a --check b
try record --check r.txt
try record --print r.txt --model net.pb
try record --compare a.txt
try diff a.pb
try diff a.pb b.pb c.pb
try export --model net.pb
try passes net.pb
try manual more
try version more
try help passes diff
try help frobnicate
try completion
try completion tcsh
try convert --model net.pb --outputs fc --record r.txt --factors f.txt --save_path p
