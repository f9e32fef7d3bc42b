/*
 * Bootstrap, system-call and exception entries, returns to user mode.
 *
 * The kernel has one stack, for all threads. What is left of a thread that does not run is in its struct thread: user registers are pushed
 * right into its frame, which ends at current_frame_end; TSS.RSP0 points there too.
 */
#define MSR_EFER 0xc0000080
#define EFER_BITS 0x901 /* SCE, LME, NXE */
#define CR0_BITS 0x80010033 /* PG, WP, NE, ET, MP, PE; EM and TS clear */
#define CR4_PAE 0x20
#define BOOT_CODE64 0x10

    .section .boot, "ax"
    .code32
    .globl bootstrap
/* Protected mode, paging off. EBX: boot_info. Turns paging and long mode on. */
bootstrap:
    cli
    cld
    mov (%ebx), %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $CR4_PAE, %eax
    mov %eax, %cr4
    mov $MSR_EFER, %ecx
    rdmsr
    or $EFER_BITS, %eax
    wrmsr
    mov $CR0_BITS, %eax
    mov %eax, %cr0
    ljmp $BOOT_CODE64, $1f
    .code64
1:  mov %ebx, %edi
    movabs $start64, %rax
    jmp *%rax

    .text
    .code64
/* RDI: boot_info, physical. */
    .globl start64
start64:
    lea kernel_stack_top(%rip), %rsp
    xor %ebp, %ebp
    movabs $0xffff888000000000, %rax
    add %rax, %rdi
    call kernel_main
1:  hlt
    jmp 1b

    .macro push_registers_but_rdi
    push %rsi
    push %rdx
    push %rcx
    push %rax
    push %r8
    push %r9
    push %r10
    push %r11
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    .endm

    .macro push_registers /* from orig_rax on */
    push %rdi
    push_registers_but_rdi
    .endm

/* SYSCALL: RCX is the program's RIP, R11 its RFLAGS; interrupts are off. */
    .globl syscall_entry
syscall_entry:
    mov %rsp, user_rsp(%rip)
    mov current_frame_end(%rip), %rsp
    push $0x2b
    push user_rsp(%rip)
    push %r11
    push $0x33
    push %rcx
    push %rax
    push_registers
    mov %rsp, %rdi
    lea kernel_stack_top(%rip), %rsp
    cld
    call system_call

    .macro pop_registers
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rax
    pop %rcx
    pop %rdx
    pop %rsi
    pop %rdi
    add $8, %rsp
    .endm

    .globl enter_user
enter_user:
    mov %rdi, %rsp
    pop_registers
    iretq

/* Only for frames whose RCX and R11 hold RIP and RFLAGS, as SYSCALL leaves them. */
    .globl enter_user_sysret
enter_user_sysret:
    mov %rdi, %rsp
    pop_registers
    mov 24(%rsp), %rsp
    sysretq

/* Interrupts are off; one that waits is taken between STI and the end of HLT. */
    .globl wait_for_interrupt
wait_for_interrupt:
    sti
    hlt
    cli
    ret

/* From wherever: what was under way is forgotten. */
    .globl reschedule
reschedule:
    lea kernel_stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov $1, %edi
    call schedule

    .globl ring_vmcall
ring_vmcall:
    vmcall
    ret

/* Entries of the IDT. The error code, or 0, lies where orig_rax of a frame is. */
    .macro exception vector, has_error
    .balign 16
    .if \has_error == 0
    push $0
    .endif
    push %rdi
    mov $\vector, %edi
    jmp exception_common
    .endm

    .balign 16
    .globl exception_entries
exception_entries:
    .set vector, 0
    .rept 34
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    exception vector, 1
    .else
    exception vector, 0
    .endif
    .set vector, vector + 1
    .endr

exception_common: /* the stub has put RDI where it belongs */
    push_registers_but_rdi
    cld
    mov %rsp, %rsi
    testb $3, 17*8(%rsp)
    jz 1f
    lea kernel_stack_top(%rip), %rsp
    call user_exception /* does not return */
1:  sub $8, %rsp
    and $-16, %rsp
    mov %rsi, %rbx
    call kernel_exception
    mov %rbx, %rsp
    pop_registers
    iretq

    .data
    .balign 8
    .globl current_frame_end
current_frame_end: .quad 0
user_rsp: .quad 0

    .bss
    .balign 4096
kernel_stack:
    .space 16384
    .globl kernel_stack_top
kernel_stack_top:
    .space 4096
    .globl fault_stack_top
fault_stack_top:
    .section .note.GNU-stack, "", @progbits
