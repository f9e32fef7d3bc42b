/*
 * Runs instruction cases on the machine's own processor and records what it did.
 *
 *   harness INPUT OUTPUT
 *
 * INPUT is an array of 1024-byte case records, OUTPUT an array of result records (src/format.ts describes both). Everything happens
 * inside one signal handler: a case ends in an exception (its closing INT3, or a fault), the kernel hands over the complete
 * processor state in the signal frame, the handler writes it down, puts the next case's state into the same frame and
 * returns. So a case costs one signal, state is loaded and saved by the kernel's own XRSTOR and XSAVE, and no instruction of
 * ours runs between the loading of a state and the instruction under test.
 *
 * 32-bit cases run in the same process, with CS set to the 32-bit user code segment (compatibility mode).
 * A seccomp filter turns every system call a case makes into a signal: a stray case cannot harm the machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <asm/ldt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <asm/prctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_LOW   0x10000000ull
#define DATA_LOW   0x20000000ull
#define HIGH       0x5a5a00000000ull /* added to both for the 64-bit aliases */
#define CODE_BYTES 0x2000u
#define DATA_BYTES 0x2000u
#define READ_ONLY  0x4000u           /* offset of a read-only page behind the data area's guard */
#define ZONE       0x180000u         /* pages of different rights side by side; src/format.ts has the same */
#define CODE_START 0x800u            /* where a case's code begins, unless it ends with the page */

#define CASE_BYTES 1024u
#define CASE_32BIT 1u
#define CASE_AT_END 2u
#define CASE_HIGH 4u
#define CASE_SEGMENTS 8u /* segments of the LDT instead of flat ones; `segments` says which */
#define SEGMENTS_CODE16 0x4000u
#define VECTOR_SYSTEM_CALL 0xfeu
#define VECTOR_TIMEOUT 0xffu

#define USER_CS32 0x23u
#define USER_CS64 0x33u
#define USER_DS 0x2bu

struct __attribute__((packed)) fpu_state {
  uint16_t fcw, fsw;
  uint8_t ftw, reserved0;
  uint16_t reserved1;
  uint32_t mxcsr, word; /* word: unused in a case, number of memory runs in a result */
  uint8_t st[8][16];
  uint8_t ymm[16][32];
};

struct __attribute__((packed)) test_case {
  uint32_t flags; /* CASE_*, bits 8-11: memory pattern */
  uint8_t code_length, patch_count;
  uint16_t segments; /* bits 2:0 DS, 5:3 ES, 8:6 FS, 11:9 GS (indices of data_selectors), 13:12 SS, 14 16-bit code */
  uint64_t rflags;
  uint64_t gpr[16];
  struct fpu_state fpu;
  uint8_t code[64];
  uint8_t patches[160]; /* u16 offset, u16 length, bytes */
};

struct __attribute__((packed)) result {
  uint32_t size, vector;
  uint64_t error, cr2, rip, rflags;
  uint64_t gpr[16];
  uint16_t segments[6]; /* ES CS SS DS FS GS */
  uint32_t reserved;
  struct fpu_state fpu;
};

_Static_assert(offsetof(struct test_case, code) == 800, "case layout");
_Static_assert(sizeof(struct test_case) == CASE_BYTES, "case size");
_Static_assert(offsetof(struct result, fpu) == 184 && sizeof(struct result) == 840, "result layout");

/* The LDT, selector n * 8 + 7; src/segments.ts has the same table. */
static const struct user_desc descriptors[] = {
    {.entry_number = 0, .base_addr = CODE_LOW, .limit = CODE_BYTES - 1, .contents = 2, .useable = 1},
    {.entry_number = 1, .base_addr = DATA_LOW, .limit = DATA_BYTES - 1, .useable = 1},
    {.entry_number = 2, .base_addr = DATA_LOW, .limit = DATA_BYTES - 1, .read_exec_only = 1, .useable = 1},
    {.entry_number = 3, .base_addr = DATA_LOW, .limit = 0xfff, .contents = 1, .useable = 1},
    {.entry_number = 4, .base_addr = DATA_LOW + 0x800, .limit = 0xfff, .seg_32bit = 1, .useable = 1},
    {.entry_number = 5, .base_addr = CODE_LOW, .limit = CODE_BYTES - 1, .contents = 2, .seg_32bit = 1, .useable = 1},
    {.entry_number = 6, .base_addr = DATA_LOW, .limit = DATA_BYTES - 1, .seg_not_present = 1, .useable = 1},
    {.entry_number = 7, .base_addr = CODE_LOW, .limit = CODE_BYTES - 1, .contents = 2, .read_exec_only = 1, .seg_32bit = 1, .useable = 1},
    {.entry_number = 8, .base_addr = DATA_LOW, .limit = 1, .limit_in_pages = 1, .seg_32bit = 1, .contents = 1, .useable = 1},
};
static const uint16_t data_selectors[8] = {0x0f, 0x17, 0x1f, 0x27, USER_DS, 0x2f, 0, 0x47};
static const uint16_t stack_selectors[4] = {0x0f, 0x27, 0x1f, USER_DS};

static uint8_t patterns[16][DATA_BYTES];
static uint8_t initial[DATA_BYTES];
static const struct test_case *cases;
static uint32_t case_count, current;
static uint8_t *output, *output_next, *output_end;
static uint32_t tick_case = UINT32_MAX, ticks;
static int started;

/* Signal-frame register order (sys/ucontext.h) for the encoding order RAX RCX RDX RBX RSP RBP RSI RDI R8-R15. */
static const int greg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static inline void copy(void *to, const void *from, size_t n) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
static inline void clear(void *to, int value, size_t n) {
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
}

static uint64_t code_offset(const struct test_case *c) {
  return c->flags & CASE_AT_END ? CODE_BYTES - c->code_length : CODE_START;
}
static uint64_t code_address(const struct test_case *c) {
  return CODE_LOW + code_offset(c) + (c->flags & CASE_HIGH ? HIGH : 0);
}

/* The state of the case that just ended, from the frame. */
static void record(ucontext_t *uc, uint32_t vector) {
  struct result *r = (struct result *)output_next;
  greg_t *g = uc->uc_mcontext.gregs;
  uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
  uint64_t present = *(uint64_t *)(fx + 512);
  r->vector = vector;
  r->error = g[REG_ERR];
  r->cr2 = g[REG_CR2];
  r->rip = g[REG_RIP];
  r->rflags = g[REG_EFL];
  for (int i = 0; i < 16; i++) r->gpr[i] = g[greg[i]];
  r->segments[1] = (uint16_t)g[REG_CSGSFS];
  r->segments[2] = (uint16_t)((uint64_t)g[REG_CSGSFS] >> 48);
  __asm__ volatile("mov %%es,%0" : "=r"(r->segments[0]));
  __asm__ volatile("mov %%ds,%0" : "=r"(r->segments[3]));
  __asm__ volatile("mov %%fs,%0" : "=r"(r->segments[4]));
  __asm__ volatile("mov %%gs,%0" : "=r"(r->segments[5]));
  r->reserved = 0;
  struct fpu_state *f = &r->fpu;
  clear(f, 0, sizeof *f);
  f->fcw = 0x37f;
  if (present & 1) { /* a clear bit means the component is in its initial configuration (SDM 1 13.6) */
    f->fcw = *(uint16_t *)fx;
    f->fsw = *(uint16_t *)(fx + 2);
    f->ftw = fx[4];
    for (int i = 0; i < 8; i++) copy(f->st[i], fx + 32 + i * 16, 10);
  }
  f->mxcsr = *(uint32_t *)(fx + 24);
  for (int i = 0; i < 16; i++) {
    if (present & 2) copy(f->ymm[i], fx + 160 + i * 16, 16);
    if (present & 4) copy(f->ymm[i] + 16, fx + 576 + i * 16, 16);
  }
  uint8_t *runs = output_next + sizeof *r;
  const uint64_t *now = (const uint64_t *)DATA_LOW, *was = (const uint64_t *)initial;
  for (uint32_t i = 0; i < DATA_BYTES / 8;) {
    if (now[i] == was[i]) { i++; continue; }
    uint32_t first = i;
    while (i < DATA_BYTES / 8 && now[i] != was[i]) i++;
    ((uint16_t *)runs)[0] = (uint16_t)(first * 8);
    ((uint16_t *)runs)[1] = (uint16_t)((i - first) * 8);
    copy(runs + 4, now + first, (i - first) * 8);
    runs += 4 + (i - first) * 8;
    f->word++;
  }
  r->size = (uint32_t)(runs - output_next);
  output_next = runs;
}

/* The next case's memory, then its state into the frame. */
static void load(ucontext_t *uc, const struct test_case *c) {
  greg_t *g = uc->uc_mcontext.gregs;
  uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
  copy(initial, patterns[c->flags >> 8 & 15], DATA_BYTES);
  const uint8_t *p = c->patches;
  for (int i = 0; i < c->patch_count; i++) {
    uint16_t offset = *(const uint16_t *)p, length = *(const uint16_t *)(p + 2);
    copy(initial + offset, p + 4, length);
    p += 4 + length;
  }
  copy((void *)DATA_LOW, initial, DATA_BYTES);
  clear((void *)CODE_LOW, 0xcc, CODE_BYTES);
  copy((void *)(CODE_LOW + code_offset(c)), c->code, c->code_length);

  for (int i = 0; i < 16; i++) g[greg[i]] = c->gpr[i];
  g[REG_RIP] = code_address(c);
  g[REG_EFL] = c->rflags | 0x202;
  int narrow = c->flags & CASE_32BIT;
  g[REG_CSGSFS] = (greg_t)((uint64_t)USER_DS << 48 | (narrow ? USER_CS32 : USER_CS64));
  uint32_t data[4];
  for (int i = 0; i < 4; i++) data[i] = narrow ? USER_DS : 0;
  if (c->flags & CASE_SEGMENTS) {
    uint16_t which = c->segments;
    for (int i = 0; i < 4; i++) data[i] = data_selectors[which >> (i * 3) & 7];
    g[REG_CSGSFS] = (greg_t)((uint64_t)stack_selectors[which >> 12 & 3] << 48 | (which & SEGMENTS_CODE16 ? 0x07 : 0x2f));
    g[REG_RIP] = code_offset(c);
  }
  g[REG_CR2] = 0;

  *(uint16_t *)fx = c->fpu.fcw;
  *(uint16_t *)(fx + 2) = c->fpu.fsw;
  fx[4] = c->fpu.ftw;
  fx[5] = 0;
  clear(fx + 6, 0, 18); /* last opcode, instruction and data pointers */
  *(uint32_t *)(fx + 24) = c->fpu.mxcsr;
  for (int i = 0; i < 8; i++) copy(fx + 32 + i * 16, c->fpu.st[i], 16);
  for (int i = 0; i < 16; i++) {
    copy(fx + 160 + i * 16, c->fpu.ymm[i], 16);
    copy(fx + 576 + i * 16, c->fpu.ymm[i] + 16, 16);
  }
  *(uint64_t *)(fx + 512) = 7;
  __asm__ volatile("mov %0,%%ds; mov %1,%%es; mov %2,%%fs; mov %3,%%gs" : : "r"(data[0]), "r"(data[1]), "r"(data[2]), "r"(data[3]));
  if (!narrow) __asm__ volatile("wrfsbase %0; wrgsbase %0" : : "r"(0ull));
}

/* Without libc, which keeps errno by FS. */
static long direct_call(long number, uint64_t a, uint64_t b, uint64_t c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

static void finish(void) {
  direct_call(SYS_exit_group, 0, 0, 0);
  __builtin_unreachable();
}

static void handler(int number, siginfo_t *info, void *context) {
  /* The kernel leaves AC, NT and ID as the case had them, and does not restore NT and ID from the frame. */
  __asm__ volatile("pushfq; andl $~0x244000,(%%rsp); popfq" : : : "memory", "cc");
  ucontext_t *uc = context;
  (void)info;
  uint32_t vector = (uint32_t)uc->uc_mcontext.gregs[REG_TRAPNO];
  if (number == SIGALRM) {
    if (!started || tick_case != current) { tick_case = current; ticks = 0; return; }
    if (++ticks < 3) return;
    vector = VECTOR_TIMEOUT;
  }
  if (number == SIGSYS) vector = VECTOR_SYSTEM_CALL;
  if (started) {
    record(uc, vector);
    current++;
  }
  started = 1;
  if (current == case_count || output_next + sizeof(struct result) + 2 * DATA_BYTES > output_end) finish();
  load(uc, &cases[current]);
}

static void fail(const char *what) {
  fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void map_twice(int fd, uint64_t address, size_t bytes, off_t offset, int protection) {
  for (int high = 0; high < 2; high++) {
    void *at = (void *)(address + (high ? HIGH : 0));
    if (mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, offset) != at) fail("cannot map the test area");
  }
}

static void make_patterns(void) {
  for (uint32_t p = 0; p < 16; p++) {
    uint32_t x = 0x9e3779b9u * (p + 1), *words = (uint32_t *)patterns[p];
    for (uint32_t i = 0; i < DATA_BYTES / 4; i++) {
      x ^= x << 13;
      x ^= x >> 17;
      x ^= x << 5;
      words[i] = p < 12 ? x : p == 12 ? 0 : p == 13 ? 0x55555555u : p == 14 ? x & 0x03030303u : x & 0x80000000u ? 0xffffffffu : 0x01010101u;
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 3) { fprintf(stderr, "usage: harness INPUT OUTPUT\n"); return 2; }
  int in = open(argv[1], O_RDONLY);
  struct stat st;
  if (in < 0 || fstat(in, &st)) fail(argv[1]);
  case_count = (uint32_t)(st.st_size / CASE_BYTES);
  if (!case_count) return 0;
  cases = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, in, 0);
  if (cases == MAP_FAILED) fail("cannot map the cases");
  size_t room = (size_t)case_count * 1280 + 65536;
  int out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (out < 0 || ftruncate(out, room)) fail(argv[2]);
  output = output_next = mmap(0, room, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
  if (output == MAP_FAILED) fail("cannot map the results");
  output_end = output + room;

  make_patterns();
  int area = memfd_create("fidelity", 0);
  if (area < 0 || ftruncate(area, 0x10000)) fail("memfd");
  map_twice(area, CODE_LOW, CODE_BYTES, 0, PROT_READ | PROT_WRITE | PROT_EXEC);
  map_twice(area, DATA_LOW, DATA_BYTES, 0x4000, PROT_READ | PROT_WRITE);
  if (pwrite(area, patterns[0], 4096, 0x8000) != 4096) fail("memfd");
  map_twice(area, DATA_LOW + READ_ONLY, 4096, 0x8000, PROT_READ);
  static const char zone[] = "wrw-r-"; /* writable, read-only, absent */
  for (uint32_t page = 0; zone[page]; page++) {
    uint64_t at = DATA_LOW + ZONE + page * 4096;
    if (zone[page] == 'w') map_twice(area, at, 4096, 0x4000, PROT_READ | PROT_WRITE);
    if (zone[page] == 'r') map_twice(area, at, 4096, 0x8000, PROT_READ);
  }

  for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
    struct user_desc d = descriptors[i];
    if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d)) fail("modify_ldt");
  }

  static uint8_t alternate[1 << 17] __attribute__((aligned(64)));
  stack_t ss = {.ss_sp = alternate, .ss_size = sizeof alternate};
  if (sigaltstack(&ss, 0)) fail("sigaltstack");
  struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&sa.sa_mask);
  int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGALRM};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &sa, 0)) fail("sigaction");
  struct itimerval every = {{0, 20000}, {0, 20000}};
  setitimer(ITIMER_REAL, &every, 0);

  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
  /* Cases have 0 as the base of FS. The kernel is told so too: some put back what they know of when another program has had its turn. No thread-local data from here on. */
  uint64_t own_fs_base;
  __asm__ volatile("rdfsbase %0" : "=r"(own_fs_base));
  direct_call(SYS_arch_prctl, ARCH_SET_FS, 0, 0);
  if (direct_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (uint64_t)&program)) {
    direct_call(SYS_arch_prctl, ARCH_SET_FS, own_fs_base, 0);
    fail("seccomp");
  }
  __asm__ volatile("int3");
  return 2;
}
