/* Integer kernels: arithmetic, loops, calls and small tables that stay in the processor's caches. */
#include "bench.h"

/* Primes below LIMIT by Eratosthenes. */
static u64 sieve(void) {
  enum { LIMIT = 1 << 20 };
  u8 *composite = arena;
  u64 sum = 0;
  for (int round = 0; round < 3; round++) {
    for (u32 i = 0; i < LIMIT; i++) composite[i] = 0;
    for (u32 i = 2; i * i < LIMIT; i++) {
      if (composite[i]) continue;
      for (u32 j = i * i; j < LIMIT; j += i) composite[j] = 1;
    }
    for (u32 i = 2; i < LIMIT; i++) if (!composite[i]) sum += i + round;
  }
  return sum;
}

/* SHA-256 (FIPS 180-4) of 512 KiB, without the padding. The constants are computed: fractional parts of cube roots. */
static u32 sha_k[64];
static u32 cube_root_fraction(u32 prime) {
  /* floor(cbrt(prime) * 2^32) by bisection on 128-bit products */
  u64 low = 0, high = 8ull << 32;
  while (high - low > 1) {
    u64 mid = (low + high) >> 1;
    struct u128 square = product(mid, mid);                                   /* < 2^70 */
    struct u128 cube = product(square.high << 58 | square.low >> 6, mid);     /* scaled by 2^90 */
    if (cube.high < (u64)prime << 26 || (cube.high == (u64)prime << 26 && cube.low == 0)) low = mid;
    else high = mid;
  }
  return (u32)low;
}
static void sha_prepare(void) {
  u32 found = 0;
  for (u32 n = 2; found < 64; n++) {
    u32 prime = 1;
    for (u32 d = 2; d * d <= n; d++) if (n % d == 0) prime = 0;
    if (prime) sha_k[found++] = cube_root_fraction(n);
  }
  u64 state = 0x9e3779b97f4a7c15ull;
  for (u32 i = 0; i < 512 * 1024; i += 8) *(u64 *)(arena + i) = next_random(&state);
}
#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
static u64 sha256(void) {
  u32 h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
  u32 w[64];
  for (u32 block = 0; block < 512 * 1024; block += 64) {
    for (int t = 0; t < 16; t++) w[t] = __builtin_bswap32(*(u32 *)(arena + block + 4 * t));
    for (int t = 16; t < 64; t++) {
      u32 s0 = ROTATE(w[t - 15], 7) ^ ROTATE(w[t - 15], 18) ^ (w[t - 15] >> 3);
      u32 s1 = ROTATE(w[t - 2], 17) ^ ROTATE(w[t - 2], 19) ^ (w[t - 2] >> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
    for (int t = 0; t < 64; t++) {
      u32 t1 = i + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + ((e & f) ^ (~e & g)) + sha_k[t] + w[t];
      u32 t2 = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      i = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
    }
    h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += i;
  }
  return ((u64)(h[0] ^ h[2] ^ h[4] ^ h[6]) << 32) | (h[1] ^ h[3] ^ h[5] ^ h[7]);
}

/* CRC-32 (IEEE 802.3), one table look-up a byte, of 4 MiB. */
static u32 crc_table[256];
static void crc_prepare(void) {
  for (u32 n = 0; n < 256; n++) {
    u32 c = n;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    crc_table[n] = c;
  }
  u64 state = 1;
  for (u32 i = 0; i < (4u << 20); i += 8) *(u64 *)(arena + i) = next_random(&state);
}
static u64 crc32(void) {
  u32 c = ~0u;
  for (u32 i = 0; i < (4u << 20); i++) c = crc_table[(c ^ arena[i]) & 255] ^ (c >> 8);
  return ~c;
}

/* 128 x 128 matrices of 32-bit integers. */
static u64 matmul(void) {
  enum { N = 128 };
  i32 (*a)[N] = (void *)arena, (*b)[N] = (void *)(arena + 0x10000), (*c)[N] = (void *)(arena + 0x20000);
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) { a[i][j] = i * 3 + j; b[i][j] = i - j * 5; }
  u64 sum = 0;
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) {
        i32 s = 0;
        for (int k = 0; k < N; k++) s += a[i][k] * b[k][j];
        c[i][j] = s;
      }
    for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) { sum = sum * 31 + (u32)c[i][j]; a[i][j] ^= c[i][j] & 15; }
  }
  return sum;
}

/* Quicksort of 64 Ki words through a comparison callback. */
typedef int (*compare_fn)(const void *, const void *);
static NOINLINE int compare_words(const void *a, const void *b) {
  u32 x = *(const u32 *)a, y = *(const u32 *)b;
  return x < y ? -1 : x > y;
}
static void quicksort(u32 *low, u32 *high, compare_fn compare) {
  while (high - low > 8) {
    u32 *middle = low + (high - low) / 2;
    u32 pivot = *middle, *i = low, *j = high;
    for (;;) {
      while (compare(i, &pivot) < 0) i++;
      while (compare(j, &pivot) > 0) j--;
      if (i >= j) break;
      u32 t = *i; *i++ = *j; *j-- = t;
    }
    if (i - low < high - i) { quicksort(low, i - 1, compare); low = i; }
    else { quicksort(i, high, compare); high = i - 1; }
  }
  for (u32 *i = low + 1; i <= high; i++) {
    u32 value = *i, *j = i;
    for (; j > low && compare(j - 1, &value) > 0; j--) *j = j[-1];
    *j = value;
  }
}
static u64 qsort_callback(void) {
  enum { N = 1 << 16 };
  u32 *words = (u32 *)arena;
  compare_fn volatile compare = compare_words;
  u64 state = 12345, sum = 0;
  for (int i = 0; i < N; i++) words[i] = (u32)next_random(&state);
  quicksort(words, words + N - 1, compare);
  for (int i = 0; i < N; i++) sum = sum * 33 + words[i] + (i > 0 && words[i - 1] > words[i]);
  return sum;
}

/* Calls and returns. Written so that the compiler cannot unroll the recursion. */
static NOINLINE u64 fibonacci(u32 n);
static u64 (*volatile fibonacci_pointer)(u32) = fibonacci;
static NOINLINE u64 fibonacci(u32 n) {
  if (n < 2) return n;
  u64 (*self)(u32) = fibonacci_pointer;
  return self(n - 1) + self(n - 2);
}
static u64 fib(void) { return fibonacci(28); }

/* Greatest common divisors: 32- and 64-bit division. */
static u64 gcd(void) {
  u64 sum = 0, state = 99;
  for (int i = 0; i < 90000; i++) {
    u64 r = next_random(&state);
    u32 a = (u32)r | 1, b = (u32)(r >> 32) | 1;
    while (b) { u32 t = a % b; a = b; b = t; }
    sum += a;
  }
  for (int i = 0; i < 15000; i++) {
    u64 a = next_random(&state) | 1, b = next_random(&state) | 1;
    while (b) { u64 t = a % b; a = b; b = t; }
    sum += a;
  }
  return sum;
}

/* 64-bit and 128-bit arithmetic: products, carries, shifts, rotations. */
static u64 wide(void) {
  u64 x = 0x0123456789abcdefull, y = 0xfedcba9876543210ull;
  struct u128 sum = { 0, 0 };
  for (u32 i = 0; i < 1500000; i++) {
    struct u128 p = product(x, y);
    sum.low += p.low;
    sum.high += p.high + (sum.low < p.low);
    x = (x << 13 | x >> 51) + p.high;
    y = (y ^ p.low) - sum.high;
    y |= 1;
    sum = (struct u128){ sum.high << 3 | sum.low >> 61, sum.low << 3 | sum.high >> 61 };
  }
  return sum.low ^ sum.high ^ x ^ y;
}

const struct kernel integer_kernels[] = {
  { "sieve", 0, sieve }, { "sha256", sha_prepare, sha256 }, { "crc32", crc_prepare, crc32 }, { "matmul", 0, matmul },
  { "qsort", 0, qsort_callback }, { "fib", 0, fib }, { "gcd", 0, gcd }, { "u64", 0, wide }, { 0, 0, 0 },
};
