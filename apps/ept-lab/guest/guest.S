# What the guest does in each lab; RAX says in which. It runs in 64-bit mode at 0x100000, with the first 4 GiB mapped onto
# themselves, and prints numbers in decimal to port 0xe9.
        .set    DATA, 0x200000          # what two views show differently
        .set    CODE, 0x201000          # a function that is hidden
        .set    WATCHED, 0x202000       # what is written while somebody watches
        .set    FORBIDDEN, 0x203000     # what is not to be read in the first view
        .set    INFORMATION, 0x204000   # where the processor says what a virtualization exception is about
        .set    GATES, 0x205000         # the interrupt descriptor table
        .set    LOGGED, 0x400000        # pages that are written, from here on

_start: mov     $0x300000, %rsp
        lea     labs(%rip), %rbx
        jmp     *(%rbx,%rax,8)
        .balign 8
labs:   .quad   hypercall, views, hidden, watched, exception, logged

# Asks the hypervisor to multiply 6 and 7.
hypercall:
        mov     $0x6d756c, %eax
        mov     $6, %ebx
        mov     $7, %ecx
        vmcall
        call    print
        hlt

# Reads DATA in either view, 1000 times, and prints the sums.
views:  movl    $1, DATA
        mov     $1000, %r8d
1:      mov     $1, %ecx
        call    switch
        add     DATA, %r9d
        mov     $0, %ecx
        call    switch
        add     DATA, %r10d
        dec     %r8d
        jnz     1b
        mov     %r10d, %eax
        call    print
        mov     %r9d, %eax
        call    print
        hlt

# Calls the function, and reads its first byte.
hidden: mov     $CODE, %edi
        call    *%rdi
        call    print
        movzbl  CODE, %eax
        call    print
        hlt

watched:
        movl    $5, WATCHED
        movl    $7, WATCHED
        incl    WATCHED
        mov     WATCHED, %eax
        call    print
        hlt

# Reads what may not be read. The handler of the exception, vector 20, switches to the view in which it may.
exception:
        lea     handler(%rip), %rax
        mov     $GATES + 20 * 16, %edi
        mov     %ax, (%rdi)
        movw    %cs, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        shr     $16, %eax
        mov     %ax, 6(%rdi)
        lidt    gates(%rip)
        mov     FORBIDDEN, %eax
        call    print
        hlt
gates:  .word   21 * 16 - 1
        .quad   GATES
handler:
        push    %rax
        push    %rcx
        mov     INFORMATION + 24, %eax  # the guest-physical address
        call    print
        movl    $0, INFORMATION + 4     # the next one may come
        mov     $1, %ecx
        call    switch
        pop     %rcx
        pop     %rax
        iretq

# Writes to 600 pages, every second one.
logged: mov     $LOGGED, %edi
        mov     $600, %ecx
1:      movb    $1, (%rdi)
        add     $0x2000, %rdi
        dec     %ecx
        jnz     1b
        hlt

# VM function 0: goes to the view with the number in ECX.
switch: mov     $0, %eax
        vmfunc
        ret

# EAX in decimal and a newline to port 0xe9.
print:  mov     $10, %ebx
        xor     %esi, %esi
1:      xor     %edx, %edx
        div     %ebx
        push    %rdx
        inc     %esi
        test    %eax, %eax
        jnz     1b
2:      pop     %rax
        add     $'0', %al
        out     %al, $0xe9
        dec     %esi
        jnz     2b
        mov     $'\n', %al
        out     %al, $0xe9
        ret
