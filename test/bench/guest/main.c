/*
 * The benchmark guest: runs kernels and says on COM1 when each begins and ends. The host's clock times them, since a guest's
 * own clock may follow its instructions.
 *
 *   READY                           the guest runs
 *   COUNT <ticks>                   time stamp counter's ticks for COUNTED_INSTRUCTIONS instructions
 *   BEGIN <name> <pass>             pass 0 is the warm-up
 *   END <name> <pass> <checksum> <ticks>
 *   DONE
 *
 * Numbers are hexadecimal. Afterwards the guest ends the machine: isa-debug-exit, ACPI (where QEMU's PC has it), Bochs's
 * shutdown port, then it halts.
 */
#include "bench.h"

/* The runner writes into this block in a copy of the image. */
struct parameters {
  u8 magic[8];
  u32 passes;   /* measured ones */
  u32 selected; /* bit n: kernel n, in the order integer, memory, branch, float */
};
__attribute__((section(".parameters"), used)) volatile struct parameters parameters = { { 'V', 'K', 'B', 'E', 'N', 'C', 'H', 1 }, 3, ~0u };

u8 arena[ARENA_BYTES] __attribute__((aligned(4096)));

/* MARKER: nothing on a PC; the runner has a device there in visorkit, whose console comes in pieces. */
enum { COM1 = 0x3f8, MARKER = 0x1e0 };
static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static inline u64 ticks(void) { u32 low, high; __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory"); return (u64)high << 32 | low; }

static void put(char c) {
  while (!(in8(COM1 + 5) & 0x20)) { }
  out8(COM1, c);
}
static void put_text(const char *s) { while (*s) put(*s++); }
static void put_hex(u64 value) {
  int shift = 60;
  while (shift > 0 && !(value >> shift)) shift -= 4;
  for (; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
}
/* Ends a line and waits until the transmitter is empty, so that nothing of it falls into what is measured. */
static void end_line(void) {
  put('\n');
  while (!(in8(COM1 + 5) & 0x40)) { }
}

static void run_kernels(const struct kernel *kernel, u32 *index) {
  for (; kernel->name; kernel++, (*index)++) {
    if (!(parameters.selected >> *index & 1)) continue;
    for (u32 pass = 0; pass <= parameters.passes; pass++) {
      if (kernel->prepare) kernel->prepare();
      put_text("BEGIN "); put_text(kernel->name); put(' '); put_hex(pass); end_line();
      out8(MARKER, 1);
      u64 start = ticks();
      u64 checksum = kernel->run();
      u64 taken = ticks() - start;
      out8(MARKER, 0);
      put_text("END "); put_text(kernel->name); put(' '); put_hex(pass); put(' '); put_hex(checksum); put(' '); put_hex(taken); end_line();
    }
  }
}

/* 2 x 500,000 instructions between the two readings, and a few. */
static u64 count_ticks(void) {
  u64 start = ticks();
  u32 n = 500000;
  __asm__ volatile("1: dec %0\n jnz 1b" : "+r"(n) : : "cc");
  return ticks() - start;
}

void bench_main(void) {
  out8(COM1 + 1, 0);    /* no interrupts */
  out8(COM1 + 3, 0x80); /* divisor latch */
  out8(COM1, 1);        /* 115200 */
  out8(COM1 + 1, 0);
  out8(COM1 + 3, 3);    /* 8N1 */
  out8(COM1 + 2, 0);    /* no FIFO */
  put_text("READY"); end_line();
  count_ticks();
  put_text("COUNT "); put_hex(count_ticks()); end_line();
  u32 index = 0;
  run_kernels(integer_kernels, &index);
  run_kernels(memory_kernels, &index);
  run_kernels(branch_kernels, &index);
  run_kernels(float_kernels, &index);
  put_text("DONE"); end_line();
  out8(0xf4, 0);          /* isa-debug-exit: status 1 */
  out16(0x604, 0x2000);   /* PM1a control of QEMU's i440FX PC: S5 */
  for (const char *s = "Shutdown"; *s; s++) out8(0x8900, *s); /* Bochs */
}
