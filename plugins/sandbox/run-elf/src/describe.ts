/** What is said of a program that a signal ended. */
import { signalName, signalText } from '@visorkit/linux-abi';
import type { Killed } from '@visorkit/sandbox-kernel';

const hex = (value: bigint): string => `0x${value.toString(16)}`;

const CODES: { readonly [signal: number]: { readonly [code: number]: string } } = {
  4: { 2: 'illegal operand' },
  5: { 1: 'breakpoint', 2: 'single step', 0x80: 'breakpoint' },
  7: { 1: 'unaligned address', 2: 'no such page in the mapped file' },
  8: {
    1: 'integer division by zero',
    3: 'floating-point division by zero',
    4: 'overflow',
    5: 'underflow',
    6: 'inexact result',
    7: 'invalid operation',
  },
  11: { 1: 'address not mapped', 2: 'access not permitted', 0x80: 'general protection' },
};

/** Signals that end programs in normal use: there is nothing to explain. */
const EVERYDAY = new Set([1, 2, 13, 15]);

const REGISTERS = [
  ['rax', 'rbx', 'rcx', 'rdx'],
  ['rsi', 'rdi', 'rbp', 'rsp'],
  ['r8', 'r9', 'r10', 'r11'],
  ['r12', 'r13', 'r14', 'r15'],
  ['rip', 'rflags', 'fs_base', 'gs_base'],
] as const;

/** Lines for standard error; none for SIGPIPE, SIGINT and their like. */
export function describeKilled(name: string, killed: Killed): string[] {
  const { signal, cause } = killed;
  if (cause === 'memory')
    return [`${name}: ${signalText(signal)}: the memory of the sandbox is used up (--memory gives more)`];
  if (cause === 'sent') return EVERYDAY.has(signal) ? [] : [`${name}: ${signalText(signal)} (${signalName(signal)})`];
  const why = CODES[signal]?.[killed.detail];
  const access =
    killed.trap === 14
      ? `, ${(killed.error & 16) !== 0 ? 'execution' : (killed.error & 2) !== 0 ? 'write' : 'read'}`
      : '';
  return [
    `${name}: ${signalText(signal)} (${signalName(signal)}) at address ${hex(killed.address)}${why === undefined ? '' : ` (${why}${access})`}`,
    ...REGISTERS.map(
      (row) =>
        `  ${row.map((register) => `${register.padEnd(7)} ${killed.registers[register].toString(16).padStart(16, '0')}`).join('  ')}`,
    ),
    ...(killed.code.length === 0
      ? [`  no code at ${hex(killed.registers.rip)}`]
      : killed.code.map((line) => `  ${line}`)),
  ];
}
