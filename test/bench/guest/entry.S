/*
 * From 32-bit protected mode (a multiboot 1 loader, or our own boot sector) to bench_main in 64-bit mode, with the first
 * 1 GiB mapped one to one by 2 MiB pages. The disk form jumps to `entry` too, with the whole image at its link address.
 */
        .section .multiboot, "ax"
        .code32
        .globl entry
/* the disk form enters at the image's first byte */
        jmp entry
        .balign 8
        .long 0x1badb002                /* multiboot 1 */
        .long 3                         /* modules on pages, memory map */
        .long -(0x1badb002 + 3)

        .text
        .code32
entry:
        cli
        cld
        movl $stack_top, %esp
        /* .bss: the disk form has none in its file */
        movl $bss_start, %edi
        movl $bss_end, %ecx
        subl %edi, %ecx
        shrl $2, %ecx
        xorl %eax, %eax
        rep stosl
        /* tables */
        movl $page_directory_pointers, %eax
        orl $3, %eax
        movl %eax, page_map
        movl $page_directory, %eax
        orl $3, %eax
        movl %eax, page_directory_pointers
        movl $page_directory, %edi
        movl $0x83, %eax                /* present, writable, 2 MiB */
        movl $512, %ecx
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b
        /* long mode: CR4.PAE, OSFXSR, OSXMMEXCPT; EFER.LME; CR0.PG */
        movl %cr4, %eax
        orl $0x620, %eax
        movl %eax, %cr4
        movl $page_map, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl %cr0, %eax
        andl $~0x4, %eax                /* EM */
        orl $0x80000022, %eax           /* PG, NE, MP */
        movl %eax, %cr0
        lgdt descriptor_table_pointer
        ljmp $8, $long_mode
        .code64
long_mode:
        movl $16, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $stack_top, %esp
        fninit
        call bench_main
2:      cli
        hlt
        jmp 2b

        .section .rodata
        .balign 8
descriptor_table:
        .quad 0
        .quad 0x00af9a000000ffff        /* 64-bit code */
        .quad 0x00cf92000000ffff        /* data */
descriptor_table_pointer:
        .word . - descriptor_table - 1
        .quad descriptor_table

        .section .bss
        .balign 4096
page_map:                .skip 4096
page_directory_pointers: .skip 4096
page_directory:          .skip 4096
        .skip 32768
stack_top:
        .section .note.GNU-stack, "", @progbits
