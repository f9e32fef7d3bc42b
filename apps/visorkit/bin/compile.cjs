/** Runs the command line with guests that reset the machine, one of them translated, and lists the tools; keeps what V8 has compiled then. Part of the build. */
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
const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
const guest = (name, bytes) => {
  writeFileSync(join(folder, name), Uint8Array.from(bytes));
  return ['run', '--kernel', join(folder, name), '--serial', 'none', '--time', 'virtual'];
};
const command = (...words) => main([process.execPath, 'visorkit', ...words]);
command(...guest('reset', RESET), '--mode', 'real16')
  .then(() => command(...guest('loop', LOOP), '--mode', 'long64', '--translate', '1'))
  .then(() => command('vmi'))
  .then(keep)
  .finally(() => rmSync(folder, { recursive: true }));
