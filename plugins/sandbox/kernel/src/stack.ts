/** A program's first stack (System V ABI for x86-64, 3.4.1; Linux, fs/binfmt_elf.c): argc, argv, envp, auxiliary vector, strings. */
import { fail } from '@visorkit/core';
import { STACK_TOP, VDSO } from './abi.js';
import type { ProgramPlan } from './program.js';

/** Bytes that arguments and environment may take, a quarter of the program's stack, as on Linux. */
export const MOST_ARGUMENTS = 2 << 20;
/** The rest: the auxiliary vector and what it points to. */
const FIXED = 1024;

/** AT_* (getauxval(3)). */
const At = {
  NULL: 0,
  PHDR: 3,
  PHENT: 4,
  PHNUM: 5,
  PAGESZ: 6,
  BASE: 7,
  FLAGS: 8,
  ENTRY: 9,
  UID: 11,
  EUID: 12,
  GID: 13,
  EGID: 14,
  PLATFORM: 15,
  HWCAP: 16,
  CLKTCK: 17,
  SECURE: 23,
  RANDOM: 25,
  HWCAP2: 26,
  EXECFN: 31,
  SYSINFO_EHDR: 33,
  MINSIGSTKSZ: 51,
} as const;

export interface StackContents {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly execName: string;
  /** 16 bytes for AT_RANDOM. */
  readonly random: Uint8Array;
  readonly uid: number;
  readonly gid: number;
  readonly plan: ProgramPlan;
}

/** What the processor has: CPUID's feature word of leaf 1 (EDX), bytes of XSAVE state, whether FSGSBASE may be used. */
export interface ProcessorFeatures {
  readonly hwcap: number;
  readonly xsaveBytes: number;
  readonly fsgsbase: boolean;
}

/** Bytes that a program's arguments and environment take, pointers included. */
export function argumentBytes({
  args,
  env,
}: {
  readonly args: readonly string[];
  readonly env: readonly string[];
}): number {
  return [...args, ...env].reduce((sum, { length }) => sum + length + 1 + 8, 0);
}

/** At most so many bytes does {@link buildStack} give. */
export function stackBytes(contents: Pick<StackContents, 'args' | 'env' | 'execName'>): number {
  return argumentBytes(contents) + contents.execName.length + FIXED;
}

/** Throws SANDBOX_ARGUMENTS. */
export function checkArguments(contents: Pick<StackContents, 'args' | 'env' | 'execName'>): void {
  const length = argumentBytes(contents);
  if (length > MOST_ARGUMENTS)
    fail('SANDBOX_ARGUMENTS', `Arguments and environment take ${length} bytes; at most ${MOST_ARGUMENTS} fit.`, {
      length,
    });
  for (const [i, text] of [...contents.args, ...contents.env, contents.execName].entries())
    if (text.includes('\0'))
      fail(
        'SANDBOX_ARGUMENTS',
        `Argument or environment entry ${i} has a NUL in it: ${JSON.stringify(text.slice(0, 40))}.`,
      );
}

/** The bytes below STACK_TOP, the first address of them, which is RSP, and where among them the auxiliary vector lies. */
export function buildStack(
  { args, env, execName, random, uid, gid, plan }: StackContents,
  { hwcap, xsaveBytes, fsgsbase }: ProcessorFeatures,
): { pointer: number; bytes: Uint8Array; auxiliary: Uint8Array } {
  const bytes = new Uint8Array(stackBytes({ args, env, execName })),
    bottom = STACK_TOP - bytes.length;
  let pointer = STACK_TOP - 8;
  const push = (data: Uint8Array): number => {
    pointer -= data.length;
    bytes.set(data, pointer - bottom);
    return pointer;
  };
  const text = (value: string): number => push(Buffer.from(`${value}\0`, 'latin1'));
  const name = text(execName);
  const envp = env.toReversed().map(text).reverse(),
    argv = args.toReversed().map(text).reverse();
  const platform = text('x86_64'),
    randomAt = push(random.subarray(0, 16));
  const pairs: readonly (readonly [number, number | bigint])[] = [
    [At.SYSINFO_EHDR, VDSO],
    [At.HWCAP, hwcap],
    [At.PAGESZ, 4096],
    [At.CLKTCK, 100],
    [At.PHDR, plan.headers],
    [At.PHENT, 56],
    [At.PHNUM, plan.headerCount],
    [At.BASE, plan.interpreterBase],
    [At.FLAGS, 0],
    [At.ENTRY, plan.programEntry],
    [At.UID, uid],
    [At.EUID, uid],
    [At.GID, gid],
    [At.EGID, gid],
    [At.SECURE, 0],
    [At.RANDOM, randomAt],
    [At.HWCAP2, fsgsbase ? 2 : 0],
    [At.EXECFN, name],
    [At.PLATFORM, platform],
    [At.MINSIGSTKSZ, xsaveBytes + 1024],
    [At.NULL, 0],
  ];
  const words = (values: readonly (number | bigint)[]): Uint8Array =>
    new Uint8Array(BigUint64Array.from(values, BigInt).buffer);
  const auxiliary = words(pairs.flat());
  pointer -= pointer % 16;
  if ((argv.length + envp.length + 3) % 2 === 1) pointer -= 8; // RSP is a multiple of 16 at the entry point
  push(auxiliary);
  push(words([...envp, 0]));
  push(words([...argv, 0]));
  push(words([argv.length]));
  return { pointer, bytes: bytes.subarray(pointer - bottom), auxiliary };
}
