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
: > $table
row() {   # name, runner and its arguments
    name=$1; shift
    "$@" build/bits/program $real $once | sed "s/^/$name /" >> $table || echo "$name failed 0 0 0 -" >> $table
}
for compiler in "gcc -O0" "gcc -O2" "gcc -O3 -march=native" "clang -O0" "clang -O2" "clang -O3 -march=native"; do
    command -v ${compiler%% *} > /dev/null || continue
    case "${BITS_QUICK:-}$compiler" in 1*-O0 | 1*-O2) continue ;; esac   # BITS_QUICK=1: a third of the compilers
    $compiler -o build/bits/program tests/bits/bits.c -lm -pthread || exit 1
    case $compiler in *-O0) once=${real:+once};; *) once="";; esac
    row "$(echo $compiler | tr ' ' _)" env
done
if command -v aarch64-linux-gnu-gcc > /dev/null && command -v qemu-aarch64 > /dev/null; then
    aarch64-linux-gnu-gcc -O2 -o build/bits/program tests/bits/bits.c -lm -pthread || exit 1
    real="" once=""
    row aarch64-gcc_-O2_qemu qemu-aarch64 -L /usr/aarch64-linux-gnu
fi
column -t $table 2> /dev/null || cat $table
status=0
for model in $(awk '{print $2}' $table | sort -u); do
    n=$(awk -v m=$model '$2 == m {print $6}' $table | sort -u | wc -l)
    echo "$model: $(awk -v m=$model '$2 == m' $table | wc -l) runs, $n different"
    [ "$n" -eq 1 ] || status=1
done
exit $status
