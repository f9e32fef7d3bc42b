/**
 * Runs the command line with guests that reset the machine, one of them translated and one saved and restored, and lists the tools; keeps what V8 has
 * compiled then. Part of the build.
 */
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { keep, main } = require('./command.cjs');

/** mov al, 0xfe; out 0x64, al; hlt */
const RESET = [0xb0, 0xfe, 0xe6, 0x64, 0xf4];
/**
 * For the translator, 64-bit: mov ecx, 99; 1: call 2f; sub ecx, 1; jnz 1b; reset; 2: push rcx; mov eax, [rsp]; add eax, 3; xor eax, ecx; shl eax, 2;
 * movzx edx, al; lea eax, [rax+rdx*2]; mov [rsp-16], eax; test eax, eax; pop rcx; xchg eax, edx; ret
 */
const LOOP = [
  ...[0xb9, 99, 0, 0, 0, 0xe8, 10, 0, 0, 0, 0x83, 0xe9, 1, 0x75, 0xf6, ...RESET],
  ...[0x51, 0x8b, 0x04, 0x24, 0x83, 0xc0, 3, 0x31, 0xc8, 0xc1, 0xe0, 2, 0x0f, 0xb6, 0xd0, 0x8d, 0x04, 0x50],
  ...[0x89, 0x44, 0x24, 0xf0, 0x85, 0xc0, 0x59, 0x87, 0xd0, 0xc3],
];
/**
 * For devices and restoring, 64-bit: an IDT at 0x300000 with `handler` at vector 0x40; mov esi, 0xfee00000; the local APIC on, its timer by TSC deadline; mov r8d, 9;
 * 1: out 0x3f8, '.'; in al, 0x3fd; cli; rdtsc; add eax, 99; wrmsr IA32_TSC_DEADLINE; sti; hlt; cpuid; dec r8d; jnz 1b; reset; handler: EOI; iretq
 */
const WAKE = [
  ...[0xbf, 0x00, 0x04, 0x30, 0, 0x48, 0x8d, 0x05, 0x77, 0, 0, 0, 0x66, 0x89, 0x07, 0x66, 0x8c, 0xca, 0x66, 0x89, 0x57, 2],
  ...[0x66, 0xc7, 0x47, 4, 0x00, 0x8e, 0x48, 0xc1, 0xe8, 16, 0x48, 0x89, 0x47, 6, 0x48, 0x83, 0xec, 16],
  ...[0x66, 0xc7, 0x04, 0x24, 0xff, 0x07, 0x48, 0xc7, 0x44, 0x24, 2, 0, 0, 0x30, 0, 0x0f, 0x01, 0x1c, 0x24],
  ...[0xbe, 0, 0, 0xe0, 0xfe, 0xc7, 0x86, 0xf0, 0, 0, 0, 0xff, 0x01, 0, 0, 0xc7, 0x86, 0x20, 0x03, 0, 0, 0x40, 0x00, 4, 0],
  ...[0x41, 0xb8, 9, 0, 0, 0, 0xb0, 0x2e, 0x66, 0xba, 0xf8, 0x03, 0xee, 0x66, 0xba, 0xfd, 0x03, 0xec, 0xfa, 0x0f, 0x31],
  ...[0x83, 0xc0, 99, 0xb9, 0xe0, 0x06, 0, 0, 0x0f, 0x30, 0xfb, 0xf4, 0x31, 0xc0, 0x0f, 0xa2, 0x41, 0xff, 0xc8, 0x75, 0xdc],
  ...[...RESET, 0xc7, 0x86, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0xcf],
];
/** Three of its nine rounds. */
const SAVED_AFTER = '60';
const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
const guest = (name, bytes) => {
  writeFileSync(join(folder, name), Uint8Array.from(bytes));
  return ['run', '--kernel', join(folder, name)];
};
const quietly = ['--serial', 'none', '--time', 'virtual'];
const saved = join(folder, 'saved');
const command = (...words) => main([process.execPath, 'visorkit', ...words]);
command(...guest('reset', RESET), ...quietly, '--mode', 'real16')
  .then(() => command(...guest('loop', LOOP), ...quietly, '--mode', 'long64', '--translate', '1'))
  .then(() =>
    command(...guest('wake', WAKE), '--mode', 'long64', '--max-instructions', SAVED_AFTER, '--save', saved),
  )
  .then(() => command('run', '--restore', saved))
  .then(() => command('vmi'))
  .then(keep)
  .then(() => (process.exitCode = 0)) // a limit was reached
  .finally(() => rmSync(folder, { recursive: true }))
  .then(() => process.exit()); // a terminal is still listened to
