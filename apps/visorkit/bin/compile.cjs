/**
 * Keeps the processor's code; runs the command line with guests that reset the machine, one of them translated and one saved and restored, and with a program in the sandbox, and lists
 * the tools; keeps what V8 has compiled then. Part of the build.
 */
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
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
/** System calls by number: what programs of the C library begin with, and exit_group. */
const CALLS = [12, 158, 218, 273, 334, 302, 89, 318, 12, 9, 10, 5, 1, 39, 102, 231];
/**
 * A Linux program: lea rsi, [rip+calls]; 1: lodsw; movzx eax, ax; push rsi; xor edi, edi; xor esi, esi; xor edx, edx; xor r10, r10; syscall; pop rsi; jmp 1b;
 * nop; nop; nop; calls:
 */
const PROGRAM = [
  ...[0x48, 0x8d, 0x35, 23, 0, 0, 0, 0x66, 0xad, 0x0f, 0xb7, 0xc0, 0x56, 0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2, 0x4d, 0x31, 0xd2],
  ...[0x0f, 0x05, 0x5e, 0xeb, 0xec, 0x90, 0x90, 0x90, ...CALLS.flatMap((call) => [call & 0xff, call >> 8])],
];
/** It is at 0x400000, behind an ELF header and a program header. */
const ELF = (() => {
  const size = 64 + 56 + PROGRAM.length,
    file = Buffer.alloc(size);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0);
  file.set([2, 0, 62, 0, 1, 0, 0, 0, 120, 0, 0x40], 16); // ET_EXEC, EM_X86_64, the entry
  file.set([64], 32); // program headers
  file.set([64, 0, 56, 0, 1, 0], 52);
  file.set([1, 0, 0, 0, 5, 0, 0, 0], 64); // PT_LOAD, to be read and executed
  file.set([0, 0, 0x40], 80);
  file.set([0, 0, 0x40], 88);
  file.writeUInt32LE(size, 96);
  file.writeUInt32LE(size, 104);
  file.set([0, 0x10], 112);
  file.set(PROGRAM, 120);
  return file;
})();
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
const processor = pathToFileURL(require.resolve('@visorkit/engine/engine.wasm'));
import('../dist/kept-processor.js')
  .then(({ keepProcessor }) => keepProcessor(processor)) // first: V8 would take what it has compiled for a guest
  .then(() => command(...guest('reset', RESET), ...quietly, '--mode', 'real16'))
  .then(() => command(...guest('loop', LOOP), ...quietly, '--mode', 'long64', '--translate', '1'))
  .then(() =>
    command(...guest('wake', WAKE), '--mode', 'long64', '--max-instructions', SAVED_AFTER, '--save', saved),
  )
  .then(() => command('run', '--restore', saved))
  .then(() => {
    writeFileSync(join(folder, 'program'), ELF, { mode: 0o700 });
    return command('exec', join(folder, 'program'));
  })
  .then(() => command('vmi'))
  .then(keep)
  .then(() => (process.exitCode = 0)) // a limit was reached
  .finally(() => rmSync(folder, { recursive: true }))
  .then(() => process.exit()); // a terminal is still listened to
