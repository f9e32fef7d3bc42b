/*
 * The page that AT_SYSINFO_EHDR leads to: a shared object, as Linux has it (tools/testing/selftests/vDSO/parse_vdso.c reads it), with the
 * functions that ask for the time and the processor. They make the system calls: time is the host's, and exact to the instruction.
 */
    .section .rodata.vdso, "a"
    .balign 4096
    .globl vdso_start, vdso_end
vdso_start:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 3, 62            /* ET_DYN, x86-64 */
    .long 1
    .quad 0                 /* no entry point */
    .quad headers - vdso_start
    .quad 0
    .long 0
    .short 64, 56, 2, 64, 0, 0
headers:
    .long 1, 5              /* PT_LOAD, readable and executable */
    .quad 0, 0, 0, vdso_end - vdso_start, vdso_end - vdso_start, 4096
    .long 2, 4              /* PT_DYNAMIC */
    .quad dynamic - vdso_start, dynamic - vdso_start, dynamic - vdso_start, dynamic_end - dynamic, dynamic_end - dynamic, 8

    .balign 8
dynamic:
    .quad 14, soname - strings                  /* DT_SONAME */
    .quad 4, hash - vdso_start                  /* DT_HASH */
    .quad 5, strings - vdso_start               /* DT_STRTAB */
    .quad 6, symbols - vdso_start               /* DT_SYMTAB */
    .quad 10, strings_end - strings             /* DT_STRSZ */
    .quad 11, 24                                /* DT_SYMENT */
    .quad 0x6ffffff0, versions - vdso_start     /* DT_VERSYM */
    .quad 0x6ffffffc, definitions - vdso_start  /* DT_VERDEF */
    .quad 0x6ffffffd, 2                         /* DT_VERDEFNUM */
    .quad 0, 0
dynamic_end:

/* One bucket: the chain goes through all symbols. */
    .balign 8
hash:
    .long 1, 6
    .long 1
    .long 0, 2, 3, 4, 5, 0

    .balign 8
symbols:
    .fill 24
    .macro function name
    .long name_\name - strings
    .byte 0x12, 0           /* global function */
    .short 1
    .quad vdso_\name - vdso_start, end_\name - vdso_\name
    .endm
    function clock_gettime
    function gettimeofday
    function time
    function getcpu
    function clock_getres

versions:
    .short 0, 2, 2, 2, 2, 2

    .balign 8
definitions:
    .short 1, 1, 1, 1       /* the object's own name */
    .long hash_soname, 20, 28
    .long soname - strings, 0
    .short 1, 0, 2, 1
    .long hash_version, 20, 0
    .long version - strings, 0
    /* Both by the System V hash function */
    .set hash_soname, 0xdeebfa1
    .set hash_version, 0x3ae75f6

strings:
    .byte 0
soname: .asciz "linux-vdso.so.1"
version: .asciz "LINUX_2.6"
name_clock_gettime: .asciz "__vdso_clock_gettime"
name_gettimeofday: .asciz "__vdso_gettimeofday"
name_time: .asciz "__vdso_time"
name_getcpu: .asciz "__vdso_getcpu"
name_clock_getres: .asciz "__vdso_clock_getres"
strings_end:

    .macro call name, number
    .balign 16
vdso_\name:
    mov $\number, %eax
    syscall
    ret
end_\name:
    .endm
    call clock_gettime, 228
    call gettimeofday, 96
    call time, 201
    call getcpu, 309
    call clock_getres, 229
    .balign 4096
vdso_end:
