/* What the kernels of the benchmark guest share. Freestanding: no library, no interrupts, one processor. */
#ifndef BENCH_H
#define BENCH_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

/* One measured piece of work. `prepare` is not measured; `run` returns a checksum that depends on all it did. */
struct kernel {
  const char *name;
  void (*prepare)(void); /* may be 0 */
  u64 (*run)(void);
};

/* The kernels of each group, ended by an entry without a name. */
extern const struct kernel integer_kernels[];
extern const struct kernel memory_kernels[];
extern const struct kernel branch_kernels[];
extern const struct kernel float_kernels[];

/* Working memory: one kernel runs at a time, so they share it. */
#define ARENA_BYTES (16u << 20)
extern u8 arena[ARENA_BYTES];

/* xorshift64: the same numbers on every machine. */
static inline u64 next_random(u64 *state) {
  u64 x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

/* A product of 128 bits, on machines of 32 bits by parts. */
struct u128 { u64 high, low; };
static inline struct u128 product(u64 a, u64 b) {
#ifdef __SIZEOF_INT128__
  unsigned __int128 whole = (unsigned __int128)a * b;
  return (struct u128){ (u64)(whole >> 64), (u64)whole };
#else
  u64 low = (u64)(u32)a * (u32)b, first = (u64)(u32)a * (u32)(b >> 32);
  u64 second = (a >> 32) * (u32)b, high = (a >> 32) * (b >> 32);
  u64 middle = (low >> 32) + (u32)first + (u32)second;
  return (struct u128){ high + (first >> 32) + (second >> 32) + (middle >> 32), middle << 32 | (u32)low };
#endif
}

#define NOINLINE __attribute__((noinline))

#endif
