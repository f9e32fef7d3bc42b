/* What compilers call for divisions of 64 bits on machines of 32; Hacker's Delight, 9-5, has the rule. */
#include "bench.h"

/* high < divisor */
static inline u32 divide_long(u32 high, u32 low, u32 divisor, u32 *rest) {
  u32 quotient;
  __asm__("divl %4" : "=a"(quotient), "=d"(*rest) : "a"(low), "d"(high), "rm"(divisor) : "cc");
  return quotient;
}

static u64 divide(u64 number, u64 divisor, u64 *rest) {
  u32 top = (u32)(divisor >> 32);
  if (top == 0) {
    u32 small = (u32)divisor, high = (u32)(number >> 32), left;
    u32 quotient_high = high / small;
    u32 quotient_low = divide_long(high % small, (u32)number, small, &left);
    *rest = left;
    return (u64)quotient_high << 32 | quotient_low;
  }
  /* Both shifted so that the divisor's highest bit is set; the estimate is right or one too large */
  int shift = __builtin_clz(top);
  u32 left;
  u64 half = number >> 1;
  u64 quotient = (u64)divide_long((u32)(half >> 32), (u32)half, (u32)(divisor << shift >> 32), &left) << shift >> 31;
  if (quotient != 0) quotient--;
  *rest = number - quotient * divisor;
  if (*rest >= divisor) {
    quotient++;
    *rest -= divisor;
  }
  return quotient;
}

u64 __udivdi3(u64 number, u64 divisor) {
  u64 rest;
  return divide(number, divisor, &rest);
}
u64 __umoddi3(u64 number, u64 divisor) {
  u64 rest;
  divide(number, divisor, &rest);
  return rest;
}
