#!/bin/sh
# Compiles everything with the warnings $1 (which make errors): each compiler, standard and option macro, on all processors.
# Ends with a count.
warnings=$1
rm -rf build/warn
mkdir -p build/warn
check() { echo "$*" >> build/warn/commands; }   # of words without quotes
printf '#define KPD_IMPLEMENTATION\n#include "../../kpd.h"\n' > build/warn/kpd.c
printf '#define KPD_IMPLEMENTATION\n#define KPD_TRAIN_IMPLEMENTATION\n#include "../../kpd_train.h"\n' > build/warn/train.c
{ echo '#define KPD_STATIC'; cat build/warn/train.c; echo 'int main(void) { return 0; }'; } > build/warn/static.c
printf '#include "../../kpd_train.h"\n#include "../../kpd_train.h"\n' > build/warn/declarations.c
for cc in gcc clang; do
    command -v $cc > /dev/null || { echo "no $cc here: skipped"; continue; }
    cxx=g++; [ $cc = clang ] && cxx=clang++
    for option in -DKPD_NONE -DKPD_THREADS -DKPD_NO_SIMD -DKPD_NO_MMAP; do
        for std in c99 c17; do check $cc -std=$std $warnings $option -fsyntax-only build/warn/kpd.c; done
        check $cxx -x c++ -std=c++17 $warnings $option -fsyntax-only build/warn/kpd.c
    done
    check $cxx -x c++ -std=c++11 $warnings -fsyntax-only build/warn/kpd.c
    # -O2 sees more, and takes half a minute: where an option changes much. bits.sh has -O3.
    check $cc -std=c99 $warnings -O2 -DKPD_THREADS -c -o /dev/null build/warn/train.c
    check $cc -std=c99 $warnings -O2 -DKPD_NO_SIMD -c -o /dev/null build/warn/kpd.c
    check $cc -std=c17 $warnings -fsyntax-only build/warn/train.c
    if echo '#include <cblas.h>' | $cc -E - > /dev/null 2>&1; then
        check $cc -std=c99 $warnings -DKPD_CBLAS -fsyntax-only build/warn/train.c
        check $cxx -x c++ -std=c++11 $warnings -DKPD_CBLAS -fsyntax-only build/warn/train.c
        check $cc -std=c11 $warnings -fsyntax-only tests/cblas/dw.c
    else echo "no cblas.h here: KPD_CBLAS skipped"; fi
    for std in c++11 c++17; do check $cxx -x c++ -std=$std $warnings -fsyntax-only build/warn/train.c; done
    check $cc -std=c99 $warnings -Wno-unused-function -O0 -c -o /dev/null build/warn/static.c
    for std in c99 c17; do check $cc -std=$std $warnings -fsyntax-only build/warn/declarations.c; done
    for file in tools/*.c tests/*.c tests/fuzz/*.c examples/*.c bench/*.c; do
        [ ! -f "$file" ] || check $cc -std=c99 $warnings -Itests -I. -fsyntax-only "$file"
    done
    for file in examples/*.c; do check $cxx -x c++ -std=c++17 $warnings -fsyntax-only "$file"; done
    for file in examples/*.cc; do check $cxx -std=c++11 $warnings -fsyntax-only "$file"; done
    for file in tests/*.cc; do [ ! -f "$file" ] || check $cxx -std=c++11 $warnings -Itests -fsyntax-only "$file"; done
done
xargs -P "$(nproc 2> /dev/null || echo 1)" -I{} sh -c '
    log=build/warn/log.$$
    if $1 > $log 2>&1; then echo ok; else echo "FAIL $1"; head -n 20 $log; fi
' sh {} < build/warn/commands > build/warn/results
grep -v '^ok$' build/warn/results
passed=$(grep -c '^ok$' build/warn/results)
failed=$(($(wc -l < build/warn/commands) - passed))
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
