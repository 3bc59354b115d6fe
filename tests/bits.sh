#!/bin/sh
# One hash of the embeddings of 200 texts for every compiler, optimisation level, SIMD level, thread count and batch size, of a
# tiny model and, with KPD_MODELS, of all-MiniLM-L6-v2 (not at the scalar level nor under qemu, which would take long); and of
# the tiny model's weights after training.
set -u
mkdir -p build/bits
real=""
if [ -n "${KPD_MODELS:-}" ]; then
    real=build/bits/minilm.kpd
    [ -f $real ] || build/kpd import "$KPD_MODELS/all-MiniLM-L6-v2" -o $real || exit 1
fi
table=build/bits/table
rm -f $table.*
# name, once, real model, runner and its arguments: the rows of one compiler's program, into a table of its own
row() {
    name=$1 once=$2 real=$3; shift 3
    "$@" build/bits/$name $real $once | sed "s/^/$name /" > $table.$name || echo "$name failed 0 0 0 -" >> $table.$name
}
for compiler in "gcc -O0" "gcc -O2" "gcc -O3 -march=native" "clang -O0" "clang -O2" "clang -O3 -march=native"; do
    command -v ${compiler%% *} > /dev/null || continue
    case "${BITS_QUICK:-}$compiler" in 1*-O0 | 1*-O2) continue ;; esac   # BITS_QUICK=1: a third of the compilers
    case $compiler in *-O0) once=${real:+once};; *) once="";; esac
    name=$(echo $compiler | tr ' =' __)   # env would take a word with = for a variable
    ( $compiler -o build/bits/$name tests/bits/bits.c -lm -pthread; row $name "$once" "$real" env ) &
done
if command -v aarch64-linux-gnu-gcc > /dev/null && command -v qemu-aarch64 > /dev/null; then
    ( aarch64-linux-gnu-gcc -O2 -o build/bits/aarch64-gcc_-O2_qemu tests/bits/bits.c -lm -pthread
      row aarch64-gcc_-O2_qemu "" "" qemu-aarch64 -L /usr/aarch64-linux-gnu ) &
fi
wait
cat $table.* > $table
column -t $table 2> /dev/null || cat $table
status=0
for model in $(awk '{print $2}' $table | sort -u); do
    n=$(awk -v m=$model '$2 == m {print $6}' $table | sort -u | wc -l)
    echo "$model: $(awk -v m=$model '$2 == m' $table | wc -l) runs, $n different"
    [ "$n" -eq 1 ] || status=1
done
exit $status
