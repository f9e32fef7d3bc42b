/* Executes scalar SSE, FMA and F16C operations on this machine's processor and writes operands, results and flags.
 * usage: native-sse SEED COUNT > file.   Records of 48 bytes: u16 op, u16 flags, u32 mxcsr, u64 a, b, c, result, trapped.
 * Built with gcc -O1; every operation is one asm block so that the compiler cannot move it across the MXCSR changes. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static uint64_t rnd(void) {
  state ^= state << 13; state ^= state >> 7; state ^= state << 17;
  return state * 0x2545f4914f6cdd1dull;
}
static const uint64_t edges64[] = {
  0, 1, 2, 0xfffffffffffffull, 0xffffffffffffeull, 0x10000000000000ull, 0x10000000000001ull, 0x20000000000000ull,
  0x3ff0000000000000ull, 0x3ff0000000000001ull, 0x3fefffffffffffffull, 0x4000000000000000ull, 0x3fe0000000000000ull,
  0x7fefffffffffffffull, 0x7feffffffffffffeull, 0x7fe0000000000000ull, 0x7ff0000000000000ull, 0x7ff8000000000000ull,
  0x7ff8000000000123ull, 0x7ff0000000000001ull, 0x7ff7ffffffffffffull, 0x41dfffffffc00000ull, 0x41e0000000000000ull,
  0x41dfffffffe00000ull, 0x43e0000000000000ull, 0x43dfffffffffffffull, 0x4330000000000000ull, 0x4340000000000000ull,
  0x3ff8000000000000ull, 0x4004000000000000ull, 0x36a0000000000000ull, 0x3810000000000000ull, 0x380fffffffffffffull,
  0x47efffffe0000000ull, 0x47effffff0000000ull, 0x47efffffefffffffull, 0x47f0000000000000ull, 0x7fffffffffffffffull, 0xffffffffull, 0x80000000ull };
static const uint32_t edges32[] = {
  0, 1, 2, 0x7fffff, 0x7ffffe, 0x800000, 0x800001, 0x1000000, 0x3f800000, 0x3f800001, 0x3f7fffff, 0x40000000, 0x3f000000,
  0x7f7fffff, 0x7f7ffffe, 0x7f000000, 0x7f800000, 0x7fc00000, 0x7fc00123, 0x7f800001, 0x7fbfffff, 0x4effffff, 0x4f000000,
  0x5f000000, 0x5effffff, 0x4b000000, 0x4b800000, 0x3fc00000, 0x40200000, 0x33800000, 0x33000000, 0x477fe000, 0x477ff000,
  0x477fefff, 0x38800000, 0x387fffff, 0x387fe000, 0x33000001, 0x7fffffff };
#define N(a) (sizeof(a) / sizeof *(a))

static uint64_t sparse(int bits) { /* few runs of ones */
  uint64_t v = 0;
  int n = rnd() % 4;
  while (n--) v ^= (~0ull >> (rnd() % 64)) << (rnd() % 64);
  return bits == 64 ? v : v & 0xffffffff;
}
static uint64_t gen64(void) {
  uint64_t s = rnd() & 1ull << 63;
  switch (rnd() % 8) {
    case 0: return edges64[rnd() % N(edges64)] ^ s;
    case 1: return (edges64[rnd() % N(edges64)] + (rnd() % 5) - 2) ^ s;
    case 2: return sparse(64);
    case 3: return rnd();
    case 4: return s | ((0x3ff - 30 + rnd() % 60) << 52) | (sparse(64) >> 12);
    case 5: return s | ((rnd() % 60) << 52) | (rnd() >> 12);
    case 6: return s | ((0x3ff + rnd() % 70) << 52) | ((rnd() >> 12) & (~0ull << (rnd() % 52)));
    default: return s | ((0x3ff - 10 + rnd() % 20) << 52) | (rnd() >> 12);
  }
}
static uint64_t gen32(void) {
  uint32_t s = rnd() & 1u << 31;
  switch (rnd() % 8) {
    case 0: return edges32[rnd() % N(edges32)] ^ s;
    case 1: return (uint32_t)((edges32[rnd() % N(edges32)] + (rnd() % 5) - 2) ^ s);
    case 2: return sparse(32);
    case 3: return rnd() & 0xffffffff;
    case 4: return s | ((127 - 30 + rnd() % 60) << 23) | (uint32_t)(sparse(32) >> 9);
    case 5: return s | ((rnd() % 30) << 23) | (rnd() & 0x7fffff);
    case 6: return s | ((127 - 26 + rnd() % 95) << 23) | ((rnd() & 0x7fffff) & (~0u << (rnd() % 23)));
    default: return s | ((127 - 10 + rnd() % 20) << 23) | (rnd() & 0x7fffff);
  }
}
static uint64_t gen16(void) { return rnd() % 4 ? rnd() & 0xffff : (rnd() & 0x8000) | (rnd() % 2 ? 0x7c00 : 0) | (rnd() & 3) | (rnd() & 0x200); }

/* results go through xmm0 (a and the result), xmm1 (b), xmm2 (c) and rax */
#define RUN(code) asm volatile( \
  "ldmxcsr %[m]\n\tmovq %[a], %%xmm0\n\tmovq %[b], %%xmm1\n\tmovq %[c], %%xmm2\n\txor %%eax, %%eax\n\t" code \
  "\n\tstmxcsr %[o]\n\tmovq %%xmm0, %[r]\n\tmov %%rax, %[g]\n\tldmxcsr %[d]" \
  : [o] "=m"(out), [r] "=m"(r), [g] "=m"(g) : [m] "m"(m), [a] "m"(a), [b] "m"(b), [c] "m"(c), [d] "m"(dflt) \
  : "rax", "xmm0", "xmm1", "xmm2", "memory")
#define XMM 0
static sigjmp_buf trap;
static uint32_t trapFlags;
static void trapped(int n, siginfo_t *info, void *context) {
  trapFlags = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(trap, 1);
}
#define GPR 1
#define CMP "\n\tpushfq\n\tpop %%rax\n\tand $0x45, %%eax"

int main(int argc, char **argv) {
  state = strtoull(argv[1], 0, 0) * 0x9e3779b97f4a7c15ull + 1;
  long count = atol(argv[2]);
  uint32_t dflt = 0x1f80;
  struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
  sigaction(SIGFPE, &action, 0);
  for (long i = 0; i < count; i++) {
    volatile uint32_t m = 0x1f80 | (rnd() & 3) << 13;
    if (rnd() % 4 == 0) m |= rnd() & 0x8040;
    if (rnd() % 8 == 0) m |= 0x20; /* PE set: fast paths */
    if (rnd() % 8 == 0) m &= ~(rnd() & 0x1f80);
    volatile uint64_t didTrap = 0;
    volatile uint64_t a = gen64(), b = gen64(), c = gen64(), r = 0, g = 0;
    uint32_t fa = gen32(), fb = gen32(), fc = gen32();
    volatile uint32_t out = 0;
    volatile int op = rnd() % 56, where = XMM;
    if (op < 5 || (op >= 10 && op < 16) || op == 22 || op == 24 || op == 25 || op == 26 || op == 27 || (op >= 32 && op < 38) || (op >= 44 && op < 46) || (op >= 48 && op < 52)) { a = fa; b = fb; c = fc; }
    if (sigsetjmp(trap, 1)) { out = trapFlags; didTrap = 1; r = g = 0; }
    else switch (op) {
      case 0: RUN("addss %%xmm1, %%xmm0"); break;
      case 1: RUN("subss %%xmm1, %%xmm0"); break;
      case 2: RUN("mulss %%xmm1, %%xmm0"); break;
      case 3: RUN("divss %%xmm1, %%xmm0"); break;
      case 4: RUN("sqrtss %%xmm0, %%xmm0"); break;
      case 5: RUN("addsd %%xmm1, %%xmm0"); break;
      case 6: RUN("subsd %%xmm1, %%xmm0"); break;
      case 7: RUN("mulsd %%xmm1, %%xmm0"); break;
      case 8: RUN("divsd %%xmm1, %%xmm0"); break;
      case 9: RUN("sqrtsd %%xmm0, %%xmm0"); break;
      case 10: RUN("vfmadd132ss %%xmm2, %%xmm1, %%xmm0"); break; /* a*c+b */
      case 11: RUN("vfmadd213ss %%xmm2, %%xmm1, %%xmm0"); break; /* b*a+c */
      case 12: RUN("vfmadd231ss %%xmm2, %%xmm1, %%xmm0"); break; /* b*c+a */
      case 13: RUN("vfmsub213ss %%xmm2, %%xmm1, %%xmm0"); break;
      case 14: RUN("vfnmadd213ss %%xmm2, %%xmm1, %%xmm0"); break;
      case 15: RUN("vfnmsub213ss %%xmm2, %%xmm1, %%xmm0"); break;
      case 16: RUN("vfmadd132sd %%xmm2, %%xmm1, %%xmm0"); break;
      case 17: RUN("vfmadd213sd %%xmm2, %%xmm1, %%xmm0"); break;
      case 18: RUN("vfmadd231sd %%xmm2, %%xmm1, %%xmm0"); break;
      case 19: RUN("vfmsub213sd %%xmm2, %%xmm1, %%xmm0"); break;
      case 20: RUN("vfnmadd213sd %%xmm2, %%xmm1, %%xmm0"); break;
      case 21: RUN("vfnmsub213sd %%xmm2, %%xmm1, %%xmm0"); break;
      case 22: RUN("cvtss2sd %%xmm0, %%xmm0"); break;
      case 23: RUN("cvtsd2ss %%xmm0, %%xmm0"); break;
      case 24: RUN("cvtss2si %%xmm0, %%eax"); where = GPR; break;
      case 25: RUN("cvttss2si %%xmm0, %%eax"); where = GPR; break;
      case 26: RUN("cvtss2si %%xmm0, %%rax"); where = GPR; break;
      case 27: RUN("cvttss2si %%xmm0, %%rax"); where = GPR; break;
      case 28: RUN("cvtsd2si %%xmm0, %%eax"); where = GPR; break;
      case 29: RUN("cvttsd2si %%xmm0, %%eax"); where = GPR; break;
      case 30: RUN("cvtsd2si %%xmm0, %%rax"); where = GPR; break;
      case 31: RUN("cvttsd2si %%xmm0, %%rax"); where = GPR; break;
      case 32: RUN("roundss $0, %%xmm0, %%xmm0"); break;
      case 33: RUN("roundss $1, %%xmm0, %%xmm0"); break;
      case 34: RUN("roundss $2, %%xmm0, %%xmm0"); break;
      case 35: RUN("roundss $3, %%xmm0, %%xmm0"); break;
      case 36: RUN("roundss $4, %%xmm0, %%xmm0"); break;
      case 37: RUN("roundss $12, %%xmm0, %%xmm0"); break;
      case 38: RUN("roundsd $0, %%xmm0, %%xmm0"); break;
      case 39: RUN("roundsd $1, %%xmm0, %%xmm0"); break;
      case 40: RUN("roundsd $2, %%xmm0, %%xmm0"); break;
      case 41: RUN("roundsd $3, %%xmm0, %%xmm0"); break;
      case 42: RUN("roundsd $4, %%xmm0, %%xmm0"); break;
      case 43: RUN("roundsd $12, %%xmm0, %%xmm0"); break;
      case 44: RUN("ucomiss %%xmm1, %%xmm0" CMP); where = GPR; break;
      case 45: RUN("comiss %%xmm1, %%xmm0" CMP); where = GPR; break;
      case 46: RUN("ucomisd %%xmm1, %%xmm0" CMP); where = GPR; break;
      case 47: RUN("comisd %%xmm1, %%xmm0" CMP); where = GPR; break;
      case 48: RUN("vcvtps2ph $0, %%xmm0, %%xmm0"); r &= 0xffff; break;
      case 49: RUN("vcvtps2ph $1, %%xmm0, %%xmm0"); r &= 0xffff; break;
      case 50: RUN("vcvtps2ph $4, %%xmm0, %%xmm0"); r &= 0xffff; break;
      case 51: a = gen16(); RUN("vcvtph2ps %%xmm0, %%xmm0"); r &= 0xffffffff; break;
      case 52: a = rnd() >> (rnd() % 64); RUN("movq %%xmm0, %%rax\n\tpxor %%xmm0, %%xmm0\n\tcvtsi2ss %%eax, %%xmm0"); break;
      case 53: a = rnd() >> (rnd() % 64); if (rnd() & 1) a = -a; RUN("movq %%xmm0, %%rax\n\tpxor %%xmm0, %%xmm0\n\tcvtsi2ss %%rax, %%xmm0"); break;
      case 54: a = rnd() >> (rnd() % 64); RUN("movq %%xmm0, %%rax\n\tpxor %%xmm0, %%xmm0\n\tcvtsi2sd %%eax, %%xmm0"); break;
      case 55: a = rnd() >> (rnd() % 64); if (rnd() & 1) a = -a; RUN("movq %%xmm0, %%rax\n\tpxor %%xmm0, %%xmm0\n\tcvtsi2sd %%rax, %%xmm0"); break;
    }
    if (where == GPR) r = g;
    if (op < 5 || (op >= 10 && op < 16) || op == 23 || (op >= 32 && op < 38) || op == 52 || op == 53) r &= 0xffffffff;
    struct { uint16_t op, flags; uint32_t m; uint64_t a, b, c, r, z; } rec = { op, out & 0x3f, m, a, b, c, r, didTrap };
    fwrite(&rec, 48, 1, stdout);
  }
  return 0;
}
