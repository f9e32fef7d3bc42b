/* Branch kernels: an interpreter's indirect jumps, and the mix of an old synthetic benchmark's records, strings and switches. */
#include "bench.h"

/* A stack machine with a switch over its operations. */
enum operation { PUSH, ADD, SUB, MUL, XOR, DUP, SWAP, LOAD, STORE, JUMP_IF, SHIFT, AND, HALT };
static const u8 program[] = {
  /* s = 0 (cell 0), i = n (cell 1); do { s = (s * 5 + i) ^ (s >> 3 & 0xff) } while (--i) */
  PUSH, 0, STORE, 0,
  LOAD, 0, PUSH, 5, MUL, LOAD, 1, ADD, LOAD, 0, PUSH, 3, SHIFT, PUSH, 255, AND, XOR, STORE, 0,
  LOAD, 1, PUSH, 1, SUB, DUP, STORE, 1, JUMP_IF, 4,
  LOAD, 0, HALT,
};
static NOINLINE u32 execute(const u8 *code, u32 n) {
  u32 stack[16], cells[4] = { 0, n, 0, 0 }, *top = stack;
  u32 pc = 0;
  for (;;) {
    switch (code[pc++]) {
      case PUSH: *++top = code[pc++]; break;
      case ADD: top--; *top += top[1]; break;
      case SUB: top--; *top -= top[1]; break;
      case MUL: top--; *top *= top[1]; break;
      case XOR: top--; *top ^= top[1]; break;
      case AND: top--; *top &= top[1]; break;
      case SHIFT: top--; *top >>= top[1] & 31; break;
      case DUP: top[1] = *top; top++; break;
      case SWAP: { u32 t = *top; *top = top[-1]; top[-1] = t; break; }
      case LOAD: *++top = cells[code[pc++]]; break;
      case STORE: cells[code[pc++]] = *top--; break;
      case JUMP_IF: pc = *top-- ? code[pc] : pc + 1; break;
      default: return *top;
    }
  }
}
static u64 vm(void) {
  u8 code[sizeof program];
  for (u32 i = 0; i < sizeof program; i++) code[i] = program[i];
  return execute(code, 220000);
}

/* Records, string comparison, procedure calls, a switch and a division a round, in the manner of Dhrystone. */
struct record {
  struct record *link;
  i32 kind, choice, amount;
  char text[32];
};
static struct record records[2];
static i32 global_number, numbers[64], matrix[16][16];
static char letter;
static NOINLINE i32 same(const char *a, const char *b) {
  u32 i = 0;
  while (i < 31 && a[i] == b[i] && a[i]) i++;
  return a[i] == b[i];
}
static NOINLINE void assign(struct record *to, const struct record *from) { *to = *from; }
static NOINLINE i32 classify(i32 value) {
  switch (value) {
    case 0: return 3;
    case 1: return global_number > 100 ? 0 : 3;
    case 2: return 1;
    case 3: return global_number & 1 ? 4 : 2;
    case 4: return 2;
    default: return 0;
  }
}
static NOINLINE void fill(i32 *row, i32 (*cells)[16], i32 at, i32 value) {
  i32 index = (at + 5) & 15;
  row[index] = value;
  row[index + 1] = row[index];
  row[index + 30] = index;
  for (i32 i = index; i <= index + 1; i++) cells[index][i & 15] = index;
  cells[index][(index - 1) & 15]++;
  cells[(index + 4) & 15][index] = row[index];
  global_number = 5 + (value & 63);
}
static NOINLINE void procedure(struct record *record) {
  struct record *next = record->link;
  assign(next, record);
  record->amount = 5;
  next->amount = record->amount;
  next->link = record->link;
  next->kind = classify(next->choice);
  if (next->kind == 0) { next->amount = 6; next->choice = classify(record->choice); }
  else assign(record, next);
  record->link = next;
}
static u64 dhrystone(void) {
  static const char first[32] = "THE TEXT OF A RECORD, 1'ST KIND", second[32] = "THE TEXT OF A RECORD, 2'ND KIND";
  records[0].link = &records[1];
  records[1].link = &records[0];
  records[0].kind = 0; records[0].choice = 2; records[0].amount = 40;
  for (u32 i = 0; i < 32; i++) records[0].text[i] = first[i];
  u64 sum = 0;
  char buffer[32];
  for (i32 run = 1; run <= 80000; run++) {
    letter = 'A' + run % 5;
    i32 one = 2, two = 3, three;
    for (u32 i = 0; i < 32; i++) buffer[i] = second[i];
    global_number = same(records[0].text, buffer) ? 7 : 11;
    while (one < two) { three = 5 * one - two; numbers[three & 63] += three; one++; }
    fill(numbers, matrix, one, three + run);
    procedure(&records[0]);
    for (char c = 'A'; c <= letter; c++) if (classify(c & 7) == 2) { two = run & 0xff; buffer[0] = c; }
    two = two * one;
    one = two / (three | 1);
    two = 7 * (two - three) - one;
    sum = sum * 31 + (u32)(one + two * 3 + records[0].kind + records[1].choice + global_number + buffer[0]);
  }
  for (u32 i = 0; i < 16; i++) for (u32 j = 0; j < 16; j++) sum += (u32)matrix[i][j] * (i + 1);
  return sum;
}

static void dhrystone_prepare(void) {
  for (u32 i = 0; i < 64; i++) numbers[i] = 0;
  for (u32 i = 0; i < 16; i++) for (u32 j = 0; j < 16; j++) matrix[i][j] = 0;
}

const struct kernel branch_kernels[] = { { "vm", 0, vm }, { "dhrystone", dhrystone_prepare, dhrystone }, { 0, 0, 0 } };
