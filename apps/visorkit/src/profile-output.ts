/** `--profile`: a profile of what the guest runs, printed when its run has ended. */
import { closeSync, openSync, readSync } from 'node:fs';
import { definePlugin, fail, isVisorkitError } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { CodeProfileToken, codeProfile } from '@visorkit/trace';
import type { CodeProfile, CodeProfileResult } from '@visorkit/trace';
import type { SymbolTable } from '@visorkit/vmi';
import { writeAll, writeOrFail } from './serial.js';
import { tableOf } from './tables.js';

export interface ProfileOutput {
  /** To be added to the machine. `image`: the kernel's file, whose names are used where it is an ELF file. */
  plugins(image: string | undefined): Promise<Plugin[]>;
  /** Prints the profile, if the machine came to run. */
  write(): void;
  close(): void;
}

/** Opens where the profile goes, before the run: standard error (`true`), standard output (`-`) or a file. */
export function openProfile(target: string | true): ProfileOutput {
  const refuse = (error: unknown): never =>
    fail(
      'OUTPUT_FILE',
      `The profile cannot be written to "${target}": ${(error as Error).message}. Give --profile a path that can be written, -, or nothing.`,
      { path: target },
    );
  let descriptor: number;
  try {
    descriptor = target === true ? 2 : target === '-' ? 1 : openSync(target, 'w');
  } catch (error) {
    return refuse(error);
  }
  let profile: CodeProfile | undefined;
  return {
    async plugins(image) {
      const symbols = image === undefined ? undefined : await symbolsOf(image);
      return [
        codeProfile(symbols === undefined ? {} : { symbols }),
        definePlugin({
          name: 'profile-output',
          uses: { profile: CodeProfileToken },
          apply(_host, used) {
            ({ profile } = used);
          },
        }),
      ];
    },
    write() {
      if (profile?.result === undefined) return;
      const json = typeof target === 'string' && target.endsWith('.json');
      const text = json ? textOf(profile.result) : `${linesOf(profile.result, widthOf(descriptor)).join('\n')}\n`;
      if (descriptor === 1 || descriptor === 2) return writeAll(descriptor, Buffer.from(text));
      try {
        writeOrFail(descriptor, Buffer.from(text));
      } catch (error) {
        refuse(error);
      }
    },
    close() {
      if (descriptor > 2) closeSync(descriptor);
    },
  };
}

const ELF = Buffer.from('\x7fELF', 'latin1');

/** Names in an image that is an ELF file; undefined for any other, and for one that has none or is damaged, which its loader says. */
async function symbolsOf(path: string): Promise<SymbolTable | undefined> {
  const start = Buffer.alloc(ELF.length);
  try {
    const file = openSync(path, 'r');
    try {
      readSync(file, start);
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined; // a pipe, or what cannot be read: the image has been read already, or is refused
  }
  if (!start.equals(ELF)) return undefined;
  const { openSymbolFile } = await import('@visorkit/project/introspection');
  try {
    return openSymbolFile(path).symbols;
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    return undefined;
  }
}

/** Rows of a table at most. */
const MOST = 25;
/** Where there is no terminal, lines are as long as they are. */
const widthOf = (descriptor: number): number => {
  const stream = descriptor === 1 ? process.stdout : process.stderr;
  return descriptor <= 2 && stream.isTTY ? stream.columns : Infinity;
};

const COLUMNS = [
  { title: 'SHARE', kind: 'number' },
  { title: 'SAMPLES', kind: 'number' },
  { title: 'PLACE' },
  { title: 'IN' },
  { title: 'STATE' },
] as const;
const REASONS = [
  { title: 'SHARE', kind: 'number' },
  { title: 'SAMPLES', kind: 'number' },
  { title: 'NOT TRANSLATED' },
] as const;

function linesOf(result: CodeProfileResult, width: number): string[] {
  const { samples, every, translated, code, reasons, instructions, statistics } = result;
  const share = (part: number, whole = samples): string =>
    whole === 0 ? '-' : `${((part / whole) * 100).toFixed(1)}%`;
  const run = statistics['instructions run translated'];
  return [
    `profile: ${samples} samples, ${every} instructions from one to the next; ${share(translated)} in code that runs translated`,
    ...tableOf(
      COLUMNS,
      code.slice(0, MOST).map((one) => [share(one.samples), one.samples, one.place, one.of, one.state]),
      width,
    ),
    ...more(code.slice(MOST), share),
    ...(reasons.length === 0 ? [] : ['']),
    ...(reasons.length === 0
      ? []
      : tableOf(
          REASONS,
          reasons.slice(0, MOST).map(({ samples, reason }) => [share(samples), samples, reason]),
          width,
        )),
    ...more(reasons.slice(MOST), share),
    '',
    `${instructions} instructions${run === undefined ? '' : `, ${share(run, instructions)} of them translated`}`,
    ...Object.entries(statistics).map(([name, value]) => `${String(value).padStart(12)} ${name}`),
  ];
}

function more(left: readonly { samples: number }[], share: (part: number) => string): string[] {
  const samples = left.reduce((sum, one) => sum + one.samples, 0);
  return left.length === 0 ? [] : [`… ${left.length} more with ${share(samples)}`];
}

function textOf(result: CodeProfileResult): string {
  return `${JSON.stringify(result, (_key, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value), 2)}\n`;
}
