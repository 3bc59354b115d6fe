#!/bin/sh
# One hash for every compiler, optimisation level, SIMD level, thread count, batch size, and rounding mode and denormal flags of
# the host: of the embeddings of 200 texts by a tiny model and, with KPD_MODELS, by all-MiniLM-L6-v2 (not at the scalar level nor
# under qemu, which would take long), of the tiny model's weights after training, and of the rest that bits.c lists. Compilers warn
# as $1 says: at -O3 they see most.
set -u
warnings=$1
mkdir -p build/bits
real=""
if [ -n "${KPD_MODELS:-}" ]; then
    real=build/bits/minilm.kpd
    [ -f $real ] || build/kpd import "$KPD_MODELS/all-MiniLM-L6-v2" -o $real || exit 1
fi
table=build/bits/table
rm -f $table.*
# name, compiler, the program's arguments, runner and its arguments: the rows of one compiler, into a table of its own
rows() {
    name=$1 compiler=$2 arguments=$3; shift 3
    rm -f build/bits/$name
    $compiler $warnings -o build/bits/$name tests/bits/bits.c -lm -pthread && "$@" build/bits/$name $arguments > $table.$name ||
        echo "failed 0 0 0 - -" >> $table.$name
}
for compiler in "gcc -O0" "gcc -O2" "gcc -O3 -march=native" "clang -O0" "clang -O2" "clang -O3 -march=native"; do
    command -v ${compiler%% *} > /dev/null || continue
    case "${BITS_QUICK:-}$compiler" in 1*-O0 | 1*-O2) continue ;; esac   # BITS_QUICK=1: a third of the compilers
    case $compiler in *-O0) once=${real:+once};; *) once="";; esac
    rows "$(echo $compiler | tr ' =' __)" "$compiler" "$real $once" env &   # env would take a word with = for a variable
done
if command -v aarch64-linux-gnu-gcc > /dev/null && command -v qemu-aarch64 > /dev/null; then
    rows aarch64-gcc_-O2_qemu "aarch64-linux-gnu-gcc -O2 ${BITS_QUICK:+-DQUICK}" "" qemu-aarch64 -L /usr/aarch64-linux-gnu &
fi
wait
for rows in $table.*; do sed "s/^/${rows#$table.} /" $rows; done > $table
column -t $table 2> /dev/null || cat $table
status=0
! grep ' failed ' $table || status=1
for model in $(awk '{print $2}' $table | sort -u); do
    n=$(awk -v m=$model '$2 == m {print $7}' $table | sort -u | wc -l)
    echo "$model: $(awk -v m=$model '$2 == m' $table | wc -l) runs, $n different"
    [ "$n" -eq 1 ] || status=1
done
# clang tells nobody of these options, and the first overrides the pragma; -mfma for x86, whose oldest have nothing to fuse.
fma=""
[ "$(uname -m)" != x86_64 ] || fma=-mfma
for options in "$fma -ffp-contract=fast" "-fassociative-math -fno-signed-zeros -fno-trapping-math"; do
    command -v clang > /dev/null || continue
    clang -O2 $options -o build/bits/refused tests/bits/refused.c -lm && build/bits/refused && echo "refused: $options" && continue
    echo "not refused: $options"
    status=1
done
exit $status
