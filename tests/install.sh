#!/bin/sh
# make install, and what others make of it: the symbols, programs by pkg-config and by CMake. $1: the build's folder.
build=$1
root=$(pwd)/$build/install
log=$build/tmp/install.log
mkdir -p "$build/tmp"
rm -rf "$root"
check() {       # name, then a command that must succeed
    name=$1; shift
    if "$@" > "$log" 2>&1; then echo "ok   install.$name"; else echo "FAIL install.$name"; cat "$log"; fi
}
skip() { command -v "$1" > /dev/null && return 1; echo "skipped install.$2: no $1 here"; }

prefix=$root/usr
check make make -s B="$build" PREFIX=/usr DESTDIR="$root/staged" install
check prefix make -s B="$build" PREFIX="$prefix" LIB=lib/host install
export LD_LIBRARY_PATH="$prefix/lib/host" PKG_CONFIG_PATH="$prefix/lib/host/pkgconfig"

# One tree under DESTDIR, whose files know nothing of it.
staged() {
    test -x "$root/staged/usr/bin/kpd" && test -f "$root/staged/usr/include/kpd_train.h" &&
        test -f "$root/staged/usr/lib/cmake/kpd/kpd-config.cmake" && ! grep -r "staged" "$root/staged/usr/lib/pkgconfig" &&
        grep -q '^prefix=/usr$' "$root/staged/usr/lib/pkgconfig/kpd.pc"
}
check destdir staged

# All that the headers declare, each with the version of the interface, and nothing else.
symbols() {
    printf '#define KPD_THREADS\n#define KPDDEF KPD_PUBLIC\n#include "kpd_train.h"\n' |
        ${CC:-cc} -E -P -x c -I"$prefix/include" - | tr '\n' ' ' | tr ';' '\n' | grep KPD_PUBLIC |
        sed 's/^.*KPD_PUBLIC *[^(]*[ *]\(kpdt\{0,1\}_[a-z0-9_]*\)(.*/\1/' | sort > "$build/tmp/declared"
    abi=$(sed -n 's/^#define KPD_ABI //p' kpd.h)
    library=$prefix/lib/host/libkpd.so
    nm -D --defined-only "$library" | sed -n "s/^.* T \(.*\)@@KPD_$abi\$/\1/p" | sort > "$build/tmp/exported"
    test "$(wc -l < "$build/tmp/declared")" -gt 90 && diff "$build/tmp/declared" "$build/tmp/exported" &&
        test "$(nm -D --defined-only "$library" | grep -vc " A KPD_$abi")" -eq "$(wc -l < "$build/tmp/exported")"
}
check symbols symbols

# Names that a program may have as well do not meet the library's.
cat > "$root/host.c" << 'END'
#include <kpd_train.h>
#include <stdio.h>
int kpd__fail(void);
int kpd__fail(void) { return 7; }
int main(void) {
    kpd_error e;
    kpd_pool *pool = NULL;
    kpd_tokenizer_desc d = {0};
    kpd_tokenizer *t;
    if (kpd_abi() != KPD_ABI || kpd_pool_create(2, NULL, &pool, &e)) return 1;
    kpd_pool_destroy(pool);
    if (kpd_tokenizer_create(&d, &t, &e) != KPD_ERR_ARGUMENT || kpdt_pearson(NULL, NULL, 0) == 0) return 1;
    puts(e.message);
    return kpd__fail() - 7;
}
END
by_pkg_config() {
    ${CC:-cc} "$root/host.c" -o "$root/host" $(pkg-config --cflags --libs kpd) && "$root/host" &&
        ldd "$root/host" | grep libkpd &&
        ${CC:-cc} "$root/host.c" -o "$root/host_static" $(pkg-config --cflags kpd) "$prefix/lib/host/libkpd.a" \
            $(pkg-config --libs-only-other --static kpd) -lm && "$root/host_static" && ! ldd "$root/host_static" | grep libkpd
}
skip pkg-config pkg_config || check pkg_config by_pkg_config

cat > "$root/CMakeLists.txt" << 'END'
cmake_minimum_required(VERSION 3.13)
project(host C CXX)
find_package(kpd 0.1 REQUIRED)
add_executable(shared host.c)
target_link_libraries(shared PRIVATE kpd::kpd)
add_executable(archive host.c)
target_link_libraries(archive PRIVATE kpd::static)
add_executable(own own.cc)
target_link_libraries(own PRIVATE kpd::headers)
END
cat > "$root/own.cc" << 'END'
#define KPD_IMPLEMENTATION
#define KPD_NO_SIMD
#include <kpd.h>
int main() { return kpd_abi() != KPD_ABI; }
END
by_cmake() {    # also from a folder that was moved as a whole
    mv "$prefix" "$root/moved" && cmake -S "$root" -B "$root/cmake" -Dkpd_DIR="$root/moved/lib/host/cmake/kpd" &&
        cmake --build "$root/cmake" && "$root/cmake/shared" && "$root/cmake/archive" && "$root/cmake/own"
}
another_version() {
    ! cmake -S "$root/other" -B "$root/other/cmake" -DCMAKE_PREFIX_PATH="$root/staged/usr" && grep -q "version: 0" "$log"
}
if ! skip cmake cmake; then
    check cmake by_cmake
    mkdir "$root/other"
    sed '/^add\|^target/d; s/kpd 0.1/kpd 9.9/' "$root/CMakeLists.txt" > "$root/other/CMakeLists.txt"
    check cmake_other_version another_version
fi
