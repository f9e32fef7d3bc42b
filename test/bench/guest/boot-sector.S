/*
 * Boot sector of the disk form. Loads IMAGE_SECTORS sectors that follow it to 1000:0 with the BIOS's extended read, opens A20,
 * enters protected mode, copies the image to 1 MiB, where it is linked, and jumps to its first byte.
 * Assembled with -DIMAGE_SECTORS=n (at most 896: 448 KiB below the BIOS's own data).
 */
        .text
        .code16
        .globl start
start:
        cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7c00, %sp
        ljmp $0, $1f
1:      movb %dl, drive
        sti
        /* 32 sectors (16 KiB) a call: no BIOS refuses that, and none crosses 64 KiB */
2:      movw $packet, %si
        movb drive, %dl
        movb $0x42, %ah
        int $0x13
        jc failed
        addw $0x400, packet_segment
        addl $32, packet_block
        subw $32, remaining
        ja 2b
        movw $0x2401, %ax               /* A20 by the BIOS, and by the fast gate where that does nothing */
        int $0x15
        inb $0x92, %al
        orb $2, %al
        andb $0xfe, %al
        outb %al, $0x92
        cli
        lgdt table_pointer
        movl %cr0, %eax
        orl $1, %eax
        movl %eax, %cr0
        ljmp $8, $protected
failed:
        movw $message, %si
3:      lodsb
        testb %al, %al
        jz 4f
        movb $0x0e, %ah
        xorw %bx, %bx
        int $0x10
        jmp 3b
4:      hlt
        jmp 4b

        .code32
protected:
        movw $16, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $0x10000, %esi
        movl $0x100000, %edi
        movl $(IMAGE_SECTORS * 128), %ecx
        rep movsl
        movl $0x100000, %eax
        jmp *%eax

drive:          .byte 0
remaining:      .word IMAGE_SECTORS
packet:         .byte 16, 0
                .word 32, 0
packet_segment: .word 0x1000
packet_block:   .quad 1
message:        .asciz "The disk cannot be read."
        .balign 8
table:  .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table_pointer:
        .word . - table - 1
        .long table
        .org 510
        .word 0xaa55
        .section .note.GNU-stack, "", @progbits
