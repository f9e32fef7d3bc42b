/*
 * What interrupts and page faults cost: a flat image at 1 MiB, begun in 64-bit mode. Each loop runs twice, the first time to warm up; OUT to STEP is its beginning and
 * its end.
 */
        .set STEP, 0xe0
        .set ROUNDS, 1000000
        .set TABLES, 0x400000           /* page map, directory pointers, two directories, a page table */
        .set PAGE_TABLE, TABLES + 0x4000
        .set TESTED, 0x40000000         /* the linear page that is mapped and taken away */
        .set FRAME, 0x500000
        .set KERNEL_CODE, 0x08
        .set KERNEL_DATA, 0x10
        .set USER_DATA, 0x1b
        .set USER_CODE, 0x23
        .set TASK, 0x28

        .text
        .globl start
start:
        cli
        movq $stack_top, %rsp
        lgdt gdt_pointer
        /* the task's descriptor, and its stack for ring 0 */
        movq $task, %rax
        movw %ax, gdt + TASK + 2
        shrq $16, %rax
        movb %al, gdt + TASK + 4
        movq $stack_top, task + 4
        movw $TASK, %ax
        ltr %ax
        pushq $KERNEL_CODE
        pushq $1f
        lretq
1:      movl $KERNEL_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $0x40, %ecx
        movq $from_user, %rax
        call set_gate
        movl $0x41, %ecx
        movq $user_done, %rax
        call set_gate
        movl $14, %ecx
        movq $page_fault, %rax
        call set_gate
        lidt idt_pointer
        /* the first 1 GiB one to one, for ring 3 too; the next has one page, which is mapped on demand */
        movl $TABLES, %edi
        xorl %eax, %eax
        movl $0x5000 / 8, %ecx
        rep stosq
        movq $TABLES + 0x1007, TABLES
        movq $TABLES + 0x2007, TABLES + 0x1000
        movq $TABLES + 0x3007, TABLES + 0x1008
        movl $0x87, %eax
        movl $TABLES + 0x2000, %edi
        movl $512, %ecx
2:      movq %rax, (%rdi)
        addq $0x200000, %rax
        addq $8, %rdi
        loop 2b
        movq $PAGE_TABLE + 7, TABLES + 0x3000
        movl $TABLES, %eax
        movq %rax, %cr3

        call interrupts
        call interrupts
        call page_faults
        call page_faults
        hlt

/* INT from ring 3 to ring 0, and IRETQ back. */
interrupts:
        outb %al, $STEP
        movl $ROUNDS, %esi
        popq %rbp                       /* where to return to: ring 0's stack is empty meanwhile */
        pushq $USER_DATA
        pushq $user_stack_top
        pushq $2
        pushq $USER_CODE
        pushq $user
        iretq
user:   int $0x40
        decl %esi
        jnz user
        int $0x41
from_user:
        iretq
user_done:
        movq $stack_top, %rsp
        outb %al, $STEP
        jmp *%rbp

/* A page fault, whose handler maps the page; then it is taken away. */
page_faults:
        outb %al, $STEP
        movl $ROUNDS, %esi
        movl $TESTED, %ebx
1:      movl (%rbx), %eax
        movq $0, PAGE_TABLE
        invlpg (%rbx)
        decl %esi
        jnz 1b
        outb %al, $STEP
        ret
page_fault:
        movq $FRAME + 7, PAGE_TABLE
        invlpg (%rbx)
        addq $8, %rsp
        iretq

/* Gate ECX, which ring 3 may use, leads to RAX. */
set_gate:
        shll $4, %ecx
        movw %ax, idt(%rcx)
        movw $KERNEL_CODE, idt + 2(%rcx)
        movw $0xee00, idt + 4(%rcx)
        shrq $16, %rax
        movw %ax, idt + 6(%rcx)
        ret

        .balign 16
gdt:    .quad 0
        .quad 0x00af9b000000ffff        /* ring 0: 64-bit code, data */
        .quad 0x00cf93000000ffff
        .quad 0x00cff3000000ffff        /* ring 3: data, 64-bit code */
        .quad 0x00affb000000ffff
        .quad 0x0000890000000067, 0     /* the task */
gdt_pointer:
        .word . - gdt - 1
        .quad gdt
idt_pointer:
        .word 0x42 * 16 - 1
        .quad idt
        .balign 16
task:   .skip 0x68
        .balign 4096
idt:    .skip 4096
        .skip 4096
user_stack_top:
        .skip 4096
stack_top:
        .section .note.GNU-stack, "", @progbits
