/*
 * From 32-bit protected mode (a multiboot 1 loader, or our own boot sector) to bench_main, still in 32-bit mode, with the first
 * 1 GiB mapped one to one by 4 MiB pages. The disk form jumps to the image's first byte.
 */
        .section .multiboot, "ax"
        .code32
        .globl entry
        jmp entry
        .balign 8
        .long 0x1badb002                /* multiboot 1 */
        .long 3                         /* modules on pages, memory map */
        .long -(0x1badb002 + 3)

        .text
entry:
        cli
        cld
        lgdt descriptor_table_pointer
        ljmp $8, $1f
1:      movl $16, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $stack_top, %esp
        /* .bss: the disk form has none in its file */
        movl $bss_start, %edi
        movl $bss_end, %ecx
        subl %edi, %ecx
        shrl $2, %ecx
        xorl %eax, %eax
        rep stosl
        movl $page_directory, %edi
        movl $0x83, %eax                /* present, writable, 4 MiB */
        movl $256, %ecx
2:      movl %eax, (%edi)
        addl $0x400000, %eax
        addl $4, %edi
        loop 2b
        /* CR4.PSE, OSFXSR, OSXMMEXCPT; CR0.PG, NE, MP, not EM */
        movl %cr4, %eax
        orl $0x610, %eax
        movl %eax, %cr4
        movl $page_directory, %eax
        movl %eax, %cr3
        movl %cr0, %eax
        andl $~0x4, %eax
        orl $0x80000022, %eax
        movl %eax, %cr0
        jmp 3f
3:      fninit
        call bench_main
4:      cli
        hlt
        jmp 4b

        .section .rodata
        .balign 8
descriptor_table:
        .quad 0
        .quad 0x00cf9a000000ffff        /* code */
        .quad 0x00cf92000000ffff        /* data */
descriptor_table_pointer:
        .word . - descriptor_table - 1
        .long descriptor_table

        .section .bss
        .balign 4096
page_directory: .skip 4096
        .skip 32768
stack_top:
        .section .note.GNU-stack, "", @progbits
