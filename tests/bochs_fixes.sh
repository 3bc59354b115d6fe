#!/bin/sh
# Mends what is wrong or missing in the AMX and BF16 of Bochs as of August 2026, by Intel's manual, in the folder $1 of its
# source. What edits nothing has changed there since: look whether it is still needed.
cd "$1/cpu" || exit 1
edit() {
    cp "$1" /tmp/bochs_fixes.$$ && sed -i "$2" "$1" || exit 1
    if cmp -s "$1" /tmp/bochs_fixes.$$; then echo "bochs_fixes: nothing to edit in $1: $2"; exit 1; fi
    rm /tmp/bochs_fixes.$$
}
# TDPBUSD takes the bytes of the second operand as signed.
edit avx/amx.cc '/^BX_CPP_INLINE Bit32u DPBDUS/,/^}/ s/Bit32u(x\(.*\)Bit32s(y/Bit32s(x\1Bit8s(y/'
# VCVTNE2PS2BF16 fills the upper half from lane 0 of its operand on.
edit avx/avx512_bf16.cc 's/\(bfloat16(op1.vmm32u(n\)));/\1 - DWORD_ELEMENTS(len)));/'
# XSAVE: a tile's bytes are 16 bits and its rows 8, there are 16 rows, and tiles are in use where they are not zero.
edit xsave.cc 's/\(vmmubyte(48+n) *=.*\.\)bytes_per_row;/\1rows;/; s/\(vmm16u(8+n) *=.*\.\)rows;/\1bytes_per_row;/'
edit xsave.cc 's/row < BX_TILE_REGISTERS/row < BX_TILE_MAX_ROWS/; s/tile_use_tracker == 0/tile_use_tracker != 0/'
# XFD, the fault at the first use of tiles, without which Linux leaves AMX off: CPUID, two MSRs and the fault.
cpu=BX_CPU_THIS_PTR
case="case BX_MSR_IA32_XFD: case BX_MSR_IA32_XFD_ERROR:"
xfd="$cpu msr.ia32_xfd"
off="($xfd[0] >> 18 \& 1)"
edit cpuid.cc '/leaf->eax |= (1<<3);/ a if (is_cpu_extension_supported(BX_ISA_AMX)) leaf->eax |= 1 << 4;'
edit crregs.cc '/XTILEDATA_BIT\].attr/ s/BX_XSAVE_ALIGN64/& | BX_XSAVE_XFD_SUPPORT/'
edit cpu.h 's/^  Bit64u ia32_xss;/  Bit64u ia32_xss, ia32_xfd[2];/'
edit init.cc "s/^  $cpu msr.ia32_xss = 0;/& $xfd[0] = $xfd[1] = 0;/"
edit msr.cc '/msr_desc\[BX_MSR_XSS\]/ a msr_desc[BX_MSR_IA32_XFD] = new MSR_Descriptor("XFD", BX_ISA_AMX);'
edit msr.cc '/msr_desc\[BX_MSR_XSS\]/ a msr_desc[BX_MSR_IA32_XFD_ERROR] = new MSR_Descriptor("XFD_ERR", BX_ISA_AMX);'
edit msr.cc "/^    case BX_MSR_XSS:\$/ i $case val64 = $xfd[index - BX_MSR_IA32_XFD]; break;"
edit msr.cc "/^    case BX_MSR_XSS: .. res/ i $case $xfd[index - BX_MSR_IA32_XFD] = val_64; handleAvxModeChange(); break;"
edit proc_ctrl.cc "s/^  if (\(! long64_mode() || ! $cpu cr4.get_OSXSAVE() ||\)\$/  if ($off || \1/"
edit proc_ctrl.cc "/BxNoAMX/,/^}/ s/^  BX_ASSERT(0);/  if $off { $xfd[1] |= 1 << 18; exception(BX_NM_EXCEPTION, 0); }/"
