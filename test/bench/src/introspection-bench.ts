/** Introspection of a memory dump of Debian: from the start of the process to the list of processes, and how fast memory is read. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestParameters, prepareDebianGuest } from '@visorkit/guests';
import { LinuxKernel } from '@visorkit/os-linux';
import { openDumpFile } from '@visorkit/project/introspection';
import type { AddressSpace, PhysicalMemory } from '@visorkit/vmi';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface IntrospectionResult {
  readonly dumpBytes: number;
  /** `visorkit vmi process-list --dump FILE`, its whole process. */
  readonly listMs: Summary;
  /** A process of Node that does nothing. */
  readonly nodeMs: Summary;
  /** The one minus the other. */
  readonly aboveNodeMs: number;
  /** Reads of 8 bytes at random places of 1 MiB, by physical address and by linear address of the kernel; millions a second. */
  readonly physicalReads: Summary;
  readonly linearReads: Summary;
  /** Reads of 4 KiB one behind the other, GB a second. */
  readonly sequential: Summary;
}

const VISORKIT = join(import.meta.dirname, '../../../apps/visorkit/bin/visorkit.js');
const READS = 4_000_000;
const SET = 1 << 20;
const PAGE = 4096;

/** Boots Debian to its prompt, and writes its memory. */
function dumpDebian(kernel: string, initramfs: string, file: string): Promise<void> {
  const options = ['--kernel', kernel, '--initrd', initramfs, '--time', 'virtual', '--max-instructions', '2000000000'];
  const commandLine = `console=ttyS0 quiet ${guestParameters({ mode: 'shell' })}`;
  const child = spawn(
    process.execPath,
    [VISORKIT, 'vmi', 'dump-memory', file, 'raw', ...options, '--append', commandLine],
    {
      stdio: 'ignore',
    },
  );
  return new Promise((resolve, reject) => {
    child.on('close', (status) => (status === 0 ? resolve() : reject(new Error('Debian could not be dumped.'))));
  });
}

export async function introspectionBench(rounds: number, say: (text: string) => void): Promise<IntrospectionResult> {
  const guest = await prepareDebianGuest({ onProgress: () => {} });
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
  try {
    say('introspection: booting Debian and dumping its memory');
    const file = join(folder, 'debian.raw');
    await dumpDebian(guest.kernel, guest.initramfs, file);
    const lists: number[] = [],
      nodes: number[] = [];
    for (let round = 0; round < rounds; round++) {
      nodes.push(timeOf(['-e', '0']));
      lists.push(timeOf([VISORKIT, 'vmi', 'process-list', '--dump', file]));
    }
    using dump = await openDumpFile(file);
    const kernel = LinuxKernel.find(dump.memory);
    if (kernel === undefined) throw new Error('The dump has no kernel.');
    const listMs = summarise(lists),
      nodeMs = summarise(nodes);
    return {
      dumpBytes: dump.memory.size,
      listMs,
      nodeMs,
      aboveNodeMs: listMs.median - nodeMs.median,
      physicalReads: summarise(times(rounds, () => physicalReads(dump.memory))),
      linearReads: summarise(times(rounds, () => linearReads(kernel.space, kernel.symbols.address('_stext')!))),
      sequential: summarise(times(rounds, () => sequential(dump.memory))),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function timeOf(args: readonly string[]): number {
  const began = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return performance.now() - began;
}

/** The first round compiles. */
const times = (rounds: number, measure: () => number): number[] => Array.from({ length: rounds + 1 }, measure).slice(1);

/** Offsets in the set, multiples of 8. */
const places = ((): Int32Array => {
  const list = new Int32Array(READS);
  for (let index = 0, state = 1; index < READS; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    list[index] = (state >>> 8) & (SET - 1) & ~7;
  }
  return list;
})();
/** Millions a second. `sum`: what was read, so that no compiler leaves the reads out. */
function rate(count: number, began: number, sum: number): number {
  if (Number.isNaN(sum)) throw new Error('What was read are no numbers.');
  return count / (performance.now() - began) / 1000;
}

function physicalReads(memory: PhysicalMemory): number {
  const began = performance.now();
  let sum = 0;
  for (const place of places) sum += memory.u64(SET + place);
  return rate(READS, began, sum);
}

function linearReads(space: AddressSpace, from: bigint): number {
  const high = Number(from >> 32n),
    low = Number(from & 0xffff_ffffn);
  const began = performance.now();
  let sum = 0;
  for (const place of places) sum += space.memory.u64(space.translateHalves(high, low + place));
  return rate(READS, began, sum);
}

function sequential(memory: PhysicalMemory): number {
  const page = new Uint8Array(PAGE);
  const began = performance.now();
  let sum = 0;
  for (let at = 0; at < memory.size; at += PAGE) sum += memory.read(at, page);
  return rate(memory.size, began, sum) / 1000;
}
