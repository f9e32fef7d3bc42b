/* Memory kernels: sequential and random access, beyond what small caches and TLBs hold, and string instructions. */
#include "bench.h"

/* Word loop from one megabyte to another, then a comparison byte by byte. */
static u64 copy(void) {
  u64 *from = (u64 *)arena, *to = (u64 *)(arena + (1 << 20));
  u64 state = 7, sum = 0;
  for (u32 i = 0; i < (1 << 20) / 8; i++) from[i] = next_random(&state);
  for (u32 round = 0; round < 8; round++) {
    for (u32 i = 0; i < (1 << 20) / 8; i++) to[i] = from[i] + round;
    for (u32 i = 0; i < (1 << 20) / 8; i += 512) sum = sum * 7 + to[i];
  }
  u8 *a = arena, *b = arena + (1 << 20);
  for (u32 i = 0; i < (1 << 20); i++) sum += a[i] == b[i];
  return sum;
}

/* strlen, strcmp and strcpy byte by byte on strings of many lengths. */
static NOINLINE u32 length(const char *s) { const char *p = s; while (*p) p++; return p - s; }
static NOINLINE int compare(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return (u8)*a - (u8)*b; }
static NOINLINE void duplicate(char *to, const char *from) { while ((*to++ = *from++)) { } }
static u64 strings(void) {
  char *text = (char *)arena, *other = (char *)arena + 0x1000;
  u64 sum = 0;
  for (u32 round = 0; round < 16000; round++) {
    u32 n = 1 + round % 211;
    for (u32 i = 0; i < n; i += 16) text[i] = 'a' + (round + i) % 26;
    for (u32 i = n > 16 ? n - 16 : 0; i < n; i++) text[i] = 'a' + i % 26;
    for (u32 i = 0; i < n; i++) if (!text[i]) text[i] = 'z';
    text[n] = 0;
    duplicate(other, text);
    sum += length(other);
    sum = sum * 3 + compare(text, other);
    other[n / 2]++;
    sum = sum * 5 + compare(text, other);
  }
  return sum;
}

/* A random cycle through 16 MiB: every access is to another cache line and mostly to another page. */
struct node {
  union { struct node *next; u64 width; };
  u64 value, unused[6];
};
enum { NODES = ARENA_BYTES / sizeof(struct node) };
static void chase_prepare(void) {
  struct node *nodes = (struct node *)arena;
  u64 state = 4711;
  for (u32 i = 0; i < NODES; i++) { nodes[i].next = &nodes[i]; nodes[i].value = i; }
  for (u32 i = NODES - 1; i > 0; i--) { /* Sattolo: one cycle through all */
    u32 j = next_random(&state) % i;
    struct node *t = nodes[i].next; nodes[i].next = nodes[j].next; nodes[j].next = t;
  }
}
static u64 chase(void) {
  struct node *node = (struct node *)arena;
  u64 sum = 0;
  for (u32 i = 0; i < 2 * NODES; i++) { sum = sum * 3 + node->value; node = node->next; }
  return sum;
}

/* Open-addressing hash table in 512 KiB. */
static u64 hash(void) {
  enum { SLOTS = 1 << 16 };
  u64 *table = (u64 *)arena;
  u64 state = 31337, found = 0;
  for (u32 i = 0; i < SLOTS; i++) table[i] = 0;
  for (u32 i = 0; i < SLOTS / 2; i++) {
    u64 key = next_random(&state) | 1;
    u32 slot = (key * 0x9e3779b97f4a7c15ull) >> 48;
    while (table[slot]) slot = (slot + 1) & (SLOTS - 1);
    table[slot] = key;
  }
  for (u32 round = 0; round < 20; round++) {
    state = 31337;
    for (u32 i = 0; i < SLOTS / 2; i++) {
      u64 key = (next_random(&state) | 1) + (round & i & 1) * 2;
      u32 slot = (key * 0x9e3779b97f4a7c15ull) >> 48;
      while (table[slot] && table[slot] != key) slot = (slot + 1) & (SLOTS - 1);
      found += table[slot] == key ? slot : 1;
    }
  }
  return found;
}

/* REP MOVS and REP STOS: 4 KiB and 64 bytes at a time, in bytes and in the machine's words. */
typedef unsigned long word;
#ifdef __x86_64__
#define WORDS "q"
#else
#define WORDS "l"
#endif
static inline void rep_movsb(void *to, const void *from, word n) { __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory"); }
static inline void rep_movs(void *to, const void *from, word bytes) {
  word n = bytes / sizeof(word);
  __asm__ volatile("rep movs" WORDS : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
/* `value` in every 32 bits */
static inline void rep_stos(void *to, u32 value, word bytes) {
  word n = bytes / sizeof(word);
  __asm__ volatile("rep stos" WORDS : "+D"(to), "+c"(n) : "a"((word)((u64)value << 32 | value)) : "memory");
}
static void repmovs_prepare(void) { rep_stos(arena, 0, 0x200000); }
static u64 repmovs(void) {
  u8 *a = arena, *b = arena + 0x100000;
  u64 state = 5, sum = 0;
  for (u32 i = 0; i < 0x10000; i += 8) *(u64 *)(a + i) = next_random(&state);
  for (u32 round = 0; round < 200; round++) {
    for (u32 page = 0; page < 16; page++) {
      rep_movs(b + page * 4096, a + page * 4096, 4096);
      rep_movsb(a + page * 4096, b + ((page + 1) & 15) * 4096, 4096);
      rep_stos(b + page * 4096 + 2048, round, 512);
    }
    for (u32 i = 0; i < 512; i++) rep_movsb(b + 0x20000 + i * 64, b + i * 64 + (round & 7), 64);
    sum = sum * 31 + *(u64 *)(b + 0x20000 + (round & 63) * 512) + a[round * 97 & 0xffff];
  }
  return sum;
}

const struct kernel memory_kernels[] = {
  { "copy", 0, copy }, { "strings", 0, strings }, { "chase", chase_prepare, chase }, { "hash", 0, hash }, { "repmovs", repmovs_prepare, repmovs }, { 0, 0, 0 },
};
