/*
 * SGDT, SIDT, SMSW, SLDT and STR of a program: the processor refuses them (CR4.UMIP), and Linux answers with values that tell nothing
 * (arch/x86/kernel/umip.c). So does this.
 */
#include "kernel.h"
#include "signals.h"

enum { SGDT, SIDT, SMSW, SLDT, STR };
#define DUMMY_GDT 0xfffffffffffe0000ul
#define DUMMY_IDT 0xffffffffffff0000ul
#define DUMMY_CR0 0x80050033ul
#define DUMMY_TASK 0x40ul

/* An instruction as far as it is read. */
struct code { u8 bytes[15]; u32 length, at; };

static u8 next(struct code *code) { return code->at < code->length ? code->bytes[code->at++] : (code->at++, 0); }

static s64 displacement(struct code *code, u32 size) {
  u32 value = 0;
  for (u32 i = 0; i < size; i++) value |= (u32)next(code) << 8 * i;
  return size == 1 ? (signed char)value : (s32)value;
}

/* A general register by its number in an instruction. */
static u64 *reg(struct frame *f, u32 number) {
  u64 *all[16] = { &f->rax, &f->rcx, &f->rdx, &f->rbx, &f->rsp, &f->rbp, &f->rsi, &f->rdi, &f->r8, &f->r9, &f->r10, &f->r11, &f->r12, &f->r13, &f->r14, &f->r15 };
  return all[number & 15];
}

/* The address of a memory operand (SDM 2A, tables 2-2 and 2-3); *relative: to the next instruction. */
static u64 effective(struct frame *f, struct code *code, u8 modrm, u8 rex, int *relative) {
  u32 mod = modrm >> 6, rm = modrm & 7;
  u64 address = 0;
  *relative = 0;
  if (rm == 4) {
    u8 sib = next(code);
    u32 index = (sib >> 3 & 7) | (rex & 2 ? 8 : 0), base = sib & 7;
    if (index != 4) address += *reg(f, index) << (sib >> 6);
    if (base == 5 && mod == 0) return address + displacement(code, 4);
    address += *reg(f, base | (rex & 1 ? 8 : 0));
  } else if (rm == 5 && mod == 0) {
    *relative = 1;
    return displacement(code, 4);
  } else address = *reg(f, rm | (rex & 1 ? 8 : 0));
  return address + (mod == 1 ? displacement(code, 1) : mod == 2 ? displacement(code, 4) : 0);
}

/* Which instruction it is; -1: none of them. */
static int which(u8 group, u8 modrm) {
  u32 operation = modrm >> 3 & 7, memory = modrm < 0xc0;
  if (group == 0) return operation == 0 ? SLDT : operation == 1 ? STR : -1;
  if (group == 1 && memory && operation < 2) return operation == 0 ? SGDT : SIDT;
  return group == 1 && operation == 4 ? SMSW : -1;
}

int emulate_umip(struct frame *f) {
  struct code code = { .length = 15 };
  while (code.length && copy_from_user(code.bytes, f->rip, code.length)) code.length--;
  u8 byte, rex = 0;
  int narrow = 0, short_address = 0, segment = 0;
  while ((byte = next(&code)) == 0x66 || byte == 0x67 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26 || byte == 0x64 || byte == 0x65 || byte == 0xf2 || byte == 0xf3) {
    narrow |= byte == 0x66;
    short_address |= byte == 0x67;
    if (byte == 0x64 || byte == 0x65) segment = byte;
  }
  if ((byte & 0xf0) == 0x40) {
    rex = byte;
    byte = next(&code);
  }
  if (byte != 0x0f) return 0;
  u8 group = next(&code), modrm = next(&code);
  int instruction = which(group, modrm);
  if (instruction < 0) return 0;
  u64 value = instruction == SMSW ? DUMMY_CR0 : instruction == STR ? DUMMY_TASK : 0;
  u32 size = rex & 8 ? 8 : narrow ? 2 : 4;
  if (modrm >= 0xc0) {
    if (code.at > code.length) return 0;
    memcpy(reg(f, (modrm & 7) | (rex & 1 ? 8 : 0)), &value, size); /* as Linux: no more than the operand */
    f->rip += code.at;
    return 1;
  }
  int relative;
  u64 address = effective(f, &code, modrm, rex, &relative);
  if (code.at > code.length) return 0;
  if (relative) address += f->rip + code.at;
  if (short_address) address = (u32)address;
  if (segment) address += rdmsr(segment == 0x64 ? MSR_FS_BASE : MSR_GS_BASE);
  u8 table[10] = { 0 };
  u64 base = instruction == SGDT ? DUMMY_GDT : DUMMY_IDT;
  memcpy(table + 2, &base, 8); /* a limit of 0 */
  int pair = instruction == SGDT || instruction == SIDT;
  if (copy_to_user(address, pair ? table : (u8 *)&value, pair ? 10 : 2)) {
    bell->trap = 14;
    bell->error = 6; /* a write of user mode */
    signal_fault(SIGSEGV, SEGV_MAPERR, address);
  }
  f->rip += code.at;
  return 1;
}
