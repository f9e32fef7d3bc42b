/* Start: descriptor tables, system-call MSRs, floating point; then the program. And the doorbell. */
#include "kernel.h"
#include "signals.h"

struct boot_info *boot;
struct doorbell *bell;

struct gate { u16 offset_low, selector; u8 ist, type; u16 offset_middle; u32 offset_high, zero; } __attribute__((packed));
struct task_state { u32 reserved; u64 rsp[3]; u64 reserved1, ist[7], reserved2; u16 reserved3, io_map; } __attribute__((packed));
struct table { u16 limit; u64 base; } __attribute__((packed));

extern u8 exception_entries[], kernel_stack_top[], fault_stack_top[];
void syscall_entry(void);

static struct task_state task_state;
static u64 gdt[10] __attribute__((aligned(16)));
static struct gate idt[34] __attribute__((aligned(16)));

enum { MSR_STAR = 0xc0000081, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK };
/* RFLAGS bits that SYSCALL clears: TF, IF, DF, IOPL, NT, AC, ID and the arithmetic flags, as on Linux. */
#define SYSCALL_FLAGS 0x257fd5

static void descriptors_init(void) {
  gdt[2] = 0x00af9b000000ffff; /* 0x10: kernel code */
  gdt[3] = 0x00cf93000000ffff; /* 0x18: kernel data */
  gdt[5] = 0x00cff3000000ffff; /* 0x28: user data; 0x20 stays empty, 32-bit programs do not exist */
  gdt[6] = 0x00affb000000ffff; /* 0x30: user code */
  u64 base = (u64)&task_state;
  gdt[8] = (sizeof task_state - 1) | (base & 0xffffff) << 16 | 0x89ul << 40 | (base >> 24 & 0xff) << 56;
  gdt[9] = base >> 32;
  task_state.ist[0] = (u64)fault_stack_top;
  task_state.io_map = sizeof task_state; /* no port is allowed */
  struct table table = { sizeof gdt - 1, (u64)gdt };
  __asm__ volatile("lgdt %0\n\t"
                   "pushq %1\n\tleaq 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:\n\t"
                   "movl %2, %%ss\n\tmovl %3, %%ds\n\tmovl %3, %%es\n\tmovl %3, %%fs\n\tmovl %3, %%gs\n\tltr %w4"
                   : : "m"(table), "i"(KERNEL_CS), "r"(KERNEL_DS), "r"(0), "r"(0x40) : "rax", "memory");
  for (u32 vector = 0; vector < 34; vector++) {
    u64 entry = (u64)exception_entries + vector * 16;
    idt[vector] = (struct gate){ .offset_low = (u16)entry, .selector = KERNEL_CS, .ist = vector == 8, .type = vector == 3 || vector == 4 ? 0xee : 0x8e,
      .offset_middle = (u16)(entry >> 16), .offset_high = (u32)(entry >> 32) };
  }
  struct table vectors = { sizeof idt - 1, (u64)idt };
  __asm__ volatile("lidt %0" : : "m"(vectors));
  wrmsr(MSR_STAR, 0x23ul << 48 | (u64)KERNEL_CS << 32);
  wrmsr(MSR_LSTAR, (u64)syscall_entry);
  wrmsr(MSR_CSTAR, (u64)syscall_entry);
  wrmsr(MSR_SFMASK, SYSCALL_FLAGS);
}

/* Features that a program may use in ring 3, as CPUID has them. */
static void features_init(void) {
  u32 a, b, c, d;
  u64 cr4;
  __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
  cr4 |= 1 << 9 | 1 << 10; /* OSFXSR, OSXMMEXCPT */
  cpuid(0, 0, &a, &b, &c, &d);
  if (a >= 7) {
    cpuid(7, 0, &a, &b, &c, &d);
    if (b & 1) cr4 |= 1 << 16;       /* FSGSBASE */
    if (b & 1 << 7) cr4 |= 1 << 20;  /* SMEP */
    if (b & 1 << 20) cr4 |= 1 << 21; /* SMAP */
    if (c & 1 << 2) cr4 |= 1 << 11;  /* UMIP */
  }
  cpuid(1, 0, &a, &b, &c, &d);
  if (c & 1 << 26) cr4 |= 1 << 18; /* OSXSAVE */
  __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
  fpu_init();
}

void set_kernel_stack(struct thread *thread) {
  task_state.rsp[0] = (u64)(&thread->frame + 1);
  current_frame_end = &thread->frame + 1;
}

void kernel_main(struct boot_info *info) {
  boot = info;
  bell = direct(info->doorbell);
  descriptors_init();
  features_init();
  memory_init();
  processes_init();
  bell->pid = first_process->pid;
  if (load_program(&current->frame)) out_of_memory();
  host_call(OP_STARTED, current->frame.rip, 0, 0, 0);
  enter_user(&current->frame);
}

s64 ring(u32 operation) {
  bell->operation = operation;
  bell->page_table = space ? space->root : boot->page_table;
  bell->mappings = space ? vma_count : 0;
  bell->mappings_at = space ? (u64)vmas : 0;
  if (boot->port) __asm__ volatile("outl %0, %w1" : : "a"(operation), "d"((u16)boot->port) : "memory");
  else ring_vmcall();
  return bell->result;
}

void more_runnable(void) {
  if (++bell->runnable == 2) ring(OP_TICK);
}

s64 host_call(u32 operation, u64 a, u64 b, u64 c, u64 d) {
  bell->args[0] = a;
  bell->args[1] = b;
  bell->args[2] = c;
  bell->args[3] = d;
  return ring(operation);
}

/* The first process ends by a signal, and the machine with it. `current` may be none when RAM is used up. */
void fatal(int signal, s32 code, u64 address, u32 cause) {
  bell->pid = first_process->pid;
  ring(OP_EXITING);
  each_process(process) if (process != first_process && process->state == PROCESS_ALIVE) process_end(process, SIGKILL);
  space_use(first_process->space);
  vma_write_back_all();
  if (!current) current = thread_of_process(first_process);
  bell->tid = current->tid;
  bell->pid = first_process->pid;
  bell->frame = current->frame;
  bell->fs_base = rdmsr(MSR_FS_BASE);
  bell->gs_base = rdmsr(MSR_GS_BASE);
  bell->signal = signal;
  bell->code = code;
  bell->fault_address = address;
  bell->cause = cause;
  ring(OP_FATAL);
  halt();
}

void panic(const char *message) {
  host_call(OP_PANIC, (u64)message - KERNEL_BASE, 0, 0, 0);
  halt();
}

void halt(void) {
  for (;;) __asm__ volatile("cli\n\thlt");
}
