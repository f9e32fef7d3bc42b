/* Executes x87 instructions on this machine's processor from random states and writes the states before and after.
 * usage: native-x87 SEED COUNT [FIRST_OPCODE] > file. Records of 512 bytes:
 *   0 u8 opcode - 0xd8, u8 modrm (rm of memory forms is [rsi]), u16 0, u32 eflags before, u32 eflags after, u32 0
 *   16 FRSTOR image before (108 bytes)   128 FNSAVE image after (108)   240 memory operand before (128)   368 after (128)
 * Built with gcc -O1 for x86-64. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t state;
static uint64_t rnd(void) {
  state ^= state << 13; state ^= state >> 7; state ^= state << 17;
  return state * 0x2545f4914f6cdd1dull;
}
static uint64_t sparse(void) {
  uint64_t v = 0;
  int n = rnd() % 4;
  while (n--) v ^= (~0ull >> (rnd() % 64)) << (rnd() % 64);
  return v;
}
static void put80(uint8_t *p, uint64_t sig, unsigned se) { memcpy(p, &sig, 8); p[8] = se; p[9] = se >> 8; }
static void gen80(uint8_t *p) {
  unsigned s = rnd() & 0x8000;
  uint64_t one = 1ull << 63;
  switch (rnd() % 16) {
    case 0: put80(p, 0, s); break;
    case 1: put80(p, one, s | 0x7fff); break;
    case 2: put80(p, one | (rnd() & 1) << 62 | (rnd() % 2 ? rnd() % 3 : rnd() >> 2), s | 0x7fff); break;
    case 3: put80(p, rnd() >> 1 >> (rnd() % 62), s); break; /* denormal */
    case 4: put80(p, rnd() % 8 ? one | sparse() : sparse(), s | (rnd() % 4 ? rnd() % 80 : 0)); break;
    case 5: put80(p, rnd() % 8 ? one | sparse() : sparse(), s | (0x7ffe - rnd() % 80)); break;
    case 6: put80(p, rnd() % 4 ? one | rnd() : sparse(), s | (rnd() & 0x7fff)); break;
    case 7: put80(p, one, s | (0x3fff - 3 + rnd() % 70)); break;
    case 8: put80(p, one | (rnd() & (~0ull << (rnd() % 64))), s | (0x3fff + rnd() % 66)); break;
    case 9: put80(p, one | (sparse() + rnd() % 3 - 1), s | (0x3fff - 2 + rnd() % 5)); break;
    case 10: put80(p, one | rnd(), s | (0x3fff - 130 + rnd() % 20)); break; /* around the edges of f32 */
    case 11: put80(p, (one | sparse()) & (~0ull << (rnd() % 44)), s | (rnd() % 2 ? 0x3fff + 120 + rnd() % 12 : 0x3fff + 1016 + rnd() % 12)); break;
    case 12: put80(p, one | sparse(), s | (0x3fff - 1080 + rnd() % 70)); break;
    default: put80(p, one | rnd(), s | (0x3fff - 20 + rnd() % 40)); break;
  }
}
static uint64_t gen64(void) {
  uint64_t s = rnd() & 1ull << 63;
  switch (rnd() % 6) {
    case 0: return s | (rnd() % 3 ? 0 : sparse() >> 12);
    case 1: return s | 0x7ffull << 52 | (rnd() % 2 ? 0 : sparse() >> 12);
    case 2: return sparse();
    case 3: return rnd();
    default: return s | ((0x3ff - 20 + rnd() % 40) << 52) | (rnd() >> 12);
  }
}
static uint32_t gen32(void) {
  uint32_t s = rnd() & 1u << 31;
  switch (rnd() % 6) {
    case 0: return s | (rnd() % 3 ? 0 : sparse() & 0x7fffff);
    case 1: return s | 0xffu << 23 | (rnd() % 2 ? 0 : sparse() & 0x7fffff);
    case 2: return sparse();
    case 3: return rnd();
    default: return s | ((127 - 20 + rnd() % 40) << 23) | (rnd() & 0x7fffff);
  }
}
static uint64_t bcd(void) { uint64_t v = 0; for (int i = 0; i < 16; i++) v = v << 4 | rnd() % 10; return rnd() % 2 ? v : v & (~0ull >> (rnd() % 64)); }

static void genState(uint8_t *image) {
  memset(image, 0, 108);
  uint16_t cw = 0x40 | (rnd() & 0xf00), sw, tw = 0;
  cw |= rnd() % 3 ? 0x3f : rnd() & 0x3f;
  if (rnd() % 2) cw |= 0x300;
  if (rnd() % 16 == 0) cw |= rnd() & 0xf0c0;
  sw = rnd() & 0x4700;
  unsigned top = rnd() & 7;
  sw |= top << 11;
  if (rnd() % 2) sw |= rnd() & cw & 0x3f; /* sticky flags of masked exceptions */
  for (int i = 0; i < 8; i++) {
    gen80(image + 28 + i * 10);
    int empty = i < 2 ? rnd() % 40 == 0 : i == 7 ? rnd() % 20 != 0 : rnd() % 3 == 0;
    if (empty) tw |= 3 << ((i + top) % 8 * 2);
  }
  memcpy(image, &cw, 2); memcpy(image + 4, &sw, 2); memcpy(image + 8, &tw, 2);
}
static int defined(int op, int m) {
  if (m < 0xc0) {
    int r = m >> 3 & 7;
    return !((op == 1 && r == 1) || (op == 3 && (r == 4 || r == 6)) || (op == 5 && r == 5));
  }
  switch (op) {
    case 1: return !((m > 0xd0 && m < 0xd8) || m == 0xe2 || m == 0xe3 || m == 0xe6 || m == 0xe7 || m == 0xef);
    case 2: return m < 0xe0 || m == 0xe9;
    case 3: return m < 0xe5 || (m >= 0xe8 && m < 0xf8);
    case 5: return m < 0xf0;
    case 6: return m < 0xd8 || m == 0xd9 || m >= 0xe0;
    case 7: return m <= 0xe0 || (m >= 0xe8 && m < 0xf8);
  }
  return 1;
}

int main(int argc, char **argv) {
  state = strtoull(argv[1], 0, 0) * 0x9e3779b97f4a7c15ull + 1;
  long count = atol(argv[2]);
  int only = argc > 3 ? strtol(argv[3], 0, 16) : -1;
  uint8_t *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  static uint8_t rec[512] __attribute__((aligned(64)));
  static uint8_t mem[128] __attribute__((aligned(64)));
  for (long i = 0; i < count; i++) {
    int op, m;
    do {
      op = only >= 0 ? only >> 8 & 7 : rnd() & 7;
      m = only >= 0 ? only & 255 : rnd() & 255;
      if (only < 0 && rnd() % 3 == 0) op = 1, m = 0xe0 | (m & 31);
      if (m < 0xc0) m = (m & 0x38) | 6;
    } while (!defined(op, m));
    memset(rec, 0, 512);
    rec[0] = op; rec[1] = m;
    uint32_t flags = 2 | (rnd() & 0x8d5), after;
    genState(rec + 16);
    if (m == 0xf8 || m == 0xf5) if (rnd() % 2) { /* remainders near each other */
      rec[16 + 28 + 18] = rec[16 + 28 + 8] - rnd() % 70; rec[16 + 28 + 19] = rec[16 + 28 + 9];
    }
    int r = m >> 3 & 7;
    memset(mem, 0xa5, 128);
    for (int j = 0; j < 2; j++) { uint64_t v = rnd(); memcpy(mem + j * 8, &v, 8); }
    uint64_t v = gen64(); uint32_t w = gen32();
    if (op == 0 || (op == 1 && r == 0)) memcpy(mem, &w, 4);
    else if (op == 4 || (op == 5 && r == 0)) memcpy(mem, &v, 8);
    else if (op == 3 && r == 5) gen80(mem);
    else if (op == 7 && r == 4) { v = bcd(); memcpy(mem, &v, 8); mem[8] = bcd() & 0xff; }
    else if (op == 5 && r == 4) genState(mem);
    else if (op == 1 && r == 4) genState(mem);
    else if (rnd() % 2) { v = sparse(); memcpy(mem, &v, 8); }
    memcpy(rec + 240, mem, 128);
    code[0] = 0xd8 + op; code[1] = m; code[2] = 0xc3;
    uint64_t rax = 0x1111;
    asm volatile("frstor %[in]\n\tpushq %[f]\n\tpopfq\n\tcall *%[code]\n\tpushfq\n\tpopq %%rbx\n\tfnsave %[out]\n\tfninit"
      : [out] "=m"(*(uint8_t(*)[108])(rec + 128)), "=b"(after), "+a"(rax)
      : [in] "m"(*(uint8_t(*)[108])(rec + 16)), [f] "r"((uint64_t)flags), [code] "r"(code), "S"(mem)
      : "memory", "cc");
    memcpy(rec + 4, &flags, 4); memcpy(rec + 8, &after, 4); rec[12] = rax; rec[13] = rax >> 8;
    memcpy(rec + 368, mem, 128);
    fwrite(rec, 512, 1, stdout);
  }
  return 0;
}
