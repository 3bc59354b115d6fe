#!/bin/sh
# The tests of the kernels and the encoder, and the hashes of bits.sh, with instructions that this machine lacks: Bochs, which
# others wrote from Intel's manual, boots Linux as Sapphire Rapids (AMX), Tiger Lake (AVX-512 VNNI) and Arrow Lake (AVX-VNNI).
# A line of hashes each of this machine, of emulate_x86.h and of the models, and at the end "N passed, N failed".
# `make machines` on x86-64 with AVX2 and a static busybox, isolinux, xorriso and cpio, and with
#   KPD_BOCHS   the folder bochs of a copy of github.com/bochs-emu/Bochs, built under build/ as bochs_fixes.sh mends it
#   KPD_KERNEL  a vmlinuz of Linux 5.16 or later with a serial console, as in Debian's linux-image-cloud-amd64
# Takes 2 minutes for Bochs and up to 20 for a model, which run side by side. KPD_MACHINES: other models, each with its best
# level; MACHINE_TESTS: other words of test names; both separated by spaces.
set -u
machines=${KPD_MACHINES:-sapphire_rapids:amx tigerlake:avx512vnni arrow_lake:avxvnni}
tests=${MACHINE_TESTS:-kernels encoder convert}
build=$1/machines
boot="/usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32"
missing() { echo "emulated_machine: $1"; exit 2; }
[ -f "${KPD_BOCHS:-}/cpu/avx/amx.cc" ] || missing "KPD_BOCHS=${KPD_BOCHS:-}: no Bochs there, cpu/avx/amx.cc is missing"
[ -f "${KPD_KERNEL:-}" ] || missing "KPD_KERNEL=${KPD_KERNEL:-}: no such file, expected a vmlinuz"
for file in /bin/busybox $boot; do [ -f $file ] || missing "$file is missing: busybox-static, isolinux, syslinux-common"; done
for tool in xorriso cpio; do command -v $tool > /dev/null || missing "$tool is missing"; done

if [ ! -x "$build/bochs/bochs" ]; then
    rm -rf "$build/bochs"; mkdir -p "$build"; cp -r "$KPD_BOCHS" "$build/bochs"
    sh tests/bochs_fixes.sh "$build/bochs" || exit 1
    (cd "$build/bochs" && ./configure --with-nogui --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex \
        --enable-amx --enable-all-optimizations && MAKEFLAGS='' make -j$(nproc)) > "$build/bochs.make" 2>&1 ||
        missing "Bochs does not build: see $build/bochs.make"
fi

# The guest: nothing but the programs, and a script in the place of init.
root=$build/root; iso=$build/iso
rm -rf "$root" "$iso" "$build"/*.log; mkdir -p "$root/bin" "$root/build/tmp" "$root/tests" "$iso"
cp /bin/busybox "$1/tests" "$1/bits" "$root/bin"; cp -r tests/golden "$root/tests"
strip "$root/bin/tests" "$root/bin/bits"
cat > "$root/init" << END
#!/bin/busybox sh
for t in $tests; do bin/tests --filter=\$t; done
echo bits; bin/bits; echo end
/bin/busybox sleep 1
/bin/busybox poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) > "$iso/initrd"
cp $boot "$iso"; cp "$KPD_KERNEL" "$iso/vmlinuz"
# Without fsrm, since Bochs lacks the MSR by which Linux tells that strings may be moved fast, and Linux then mixes two ways.
echo "default k
label k
kernel vmlinuz
append initrd=initrd console=ttyS0 loglevel=3 mitigations=off tsc=reliable clearcpuid=fsrm" > "$iso/isolinux.cfg"
xorriso -as mkisofs -quiet -o "$build/iso.img" -b isolinux.bin -c cat -no-emul-boot -boot-load-size 4 -boot-info-table \
    "$iso" 2> /dev/null || missing "xorriso cannot write $build/iso.img"

emulate() {
    bios=$build/bochs/bios
    printf '%s\n' "cpu: model=$1, ips=200000000, ignore_bad_msrs=1" "memory: guest=1024, host=1024" "boot: cdrom" \
        "romimage: file=$bios/BIOS-bochs-latest, options=fastboot" "panic: action=fatal" "display_library: nogui" \
        "vgaromimage: file=$bios/VGABIOS-lgpl/VGABIOS-lgpl-latest.bin" "log: $build/$1.bochs" "clock: sync=none" \
        "ata0-master: type=cdrom, path=$build/iso.img, status=inserted" "com1: mode=file, dev=$build/$1.serial" > "$build/$1.rc"
    rm -f "$build/$1.serial"
    timeout 3600 "$build/bochs/bochs" -q -f "$build/$1.rc" > /dev/null 2>&1
    tr -d '\r' < "$build/$1.serial" > "$build/$1.log"
}

for m in $machines; do emulate ${m%:*} & done
"$1/bits" > "$build/host.log" && "$1/bits_emulated" > "$build/emulated.log" || exit 1
wait
failed=0 passed=0
fail() { echo "FAIL $1"; failed=$((failed + 1)); }
hashes() { awk 'NF == 6 && length($6) == 16 {print $1, $6}' "$@" | sort -u; }
for m in host emulated $machines; do
    log=$build/${m%:*}.log
    echo "$m: $(hashes "$log" | tr '\n' ' ')"
    [ $m != ${m%:*} ] || continue
    grep -v -e '^ok ' -e '^[0-9]* passed' "$log" | sed '/^bits$/,$d'
    passed=$((passed + $(grep -c '^ok ' "$log"))) failed=$((failed + $(grep -c '^FAIL ' "$log")))
    [ "$(grep -c '^[0-9]* passed, ' "$log")" -eq "$(echo $tests | wc -w)" ] && grep -q '^end$' "$log" ||
        fail "${m%:*}: a program ended early, see $log and ${m%:*}.bochs beside it"
    grep -q "^tiny-int8 ${m#*:} " "$log" || fail "${m%:*}: level ${m#*:} was not there"
done
for name in $(hashes "$build"/*.log | cut -d' ' -f1 | uniq -d); do fail "$name: the hashes differ"; done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
