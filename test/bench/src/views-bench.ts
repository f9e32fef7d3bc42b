/**
 * What it costs to change the rights of pages of a guest that is running: by invalidation of the page alone, as the vmx backend does, and with
 * all translations dropped at each change. A program of its own: `node dist/views-bench.js`. Prints JSON.
 */
import { VmxBackend } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { RESUME, stop, definePlugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MemoryViewsToken, PageRights, compose } from '@visorkit/machine';
import type { MemoryView } from '@visorkit/machine';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface ViewCost {
  readonly name: string;
  /** Changes in each of the rounds. */
  readonly changes: number;
  /** Of one change, with the guest's running between two of them where it runs. */
  readonly nanoseconds: Summary;
}

const ROUNDS = 5;
const WATCHED = 0x20_0000;
const FIRST = 0x400_0000;
const PAGES = 100_000;
/** MOV ESI, 300000H; MOV ECX, 64; 1: MOV AL, [ESI]; ADD ESI, 4096; DEC ECX; JNZ 1b; VMCALL; JMP to the start: 64 pages in use. */
const GUEST = Uint8Array.from(
  [
    [0xbe, 0x00, 0x00, 0x30, 0x00],
    [0xb9, 0x40, 0x00, 0x00, 0x00],
    [0x8a, 0x06],
    [0x81, 0xc6, 0x00, 0x10, 0x00, 0x00],
    [0x49],
    [0x75, 0xf5],
    [0x0f, 0x01, 0xc1],
    [0xeb, 0xe6],
  ].flat(),
);

interface Phase {
  readonly name: string;
  /** Exits in a round, and changes at each. */
  readonly exits: number;
  readonly changes: number;
  /** At exit `n`. */
  readonly act: (n: number) => void;
  /** Before a round, not measured. */
  readonly prepare?: () => void;
  readonly samples: number[];
}

export async function viewsBench(): Promise<ViewCost[]> {
  const backend = new VmxBackend();
  let base!: MemoryView;
  const flush = (): void => backend.engine.flushTranslations();
  const toggle = (n: number): void => base.protect(WATCHED, n % 2 === 0 ? PageRights.RX : PageRights.RWX);
  const takeAll = (and: () => void): void => {
    for (let n = 0; n < PAGES; n++) {
      base.protect(FIRST + n * 4096, PageRights.RX);
      and();
    }
  };
  const giveAll = (): void => {
    for (let n = 0; n < PAGES; n++) base.protect(FIRST + n * 4096, PageRights.RWX);
  };
  const phases: readonly Phase[] = [
    { name: 'exit without a change', exits: 200_000, changes: 1, act: () => {}, samples: [] },
    { name: 'one page toggled at each exit', exits: 200_000, changes: 1, act: toggle, samples: [] },
    {
      name: 'one page toggled at each exit, whole flush',
      exits: 20_000,
      changes: 1,
      act: (n) => {
        toggle(n);
        flush();
      },
      samples: [],
    },
    {
      name: '100,000 pages protected one by one',
      exits: 1,
      changes: PAGES,
      act: () => takeAll(() => {}),
      prepare: giveAll,
      samples: [],
    },
    {
      name: '100,000 pages protected one by one, whole flushes',
      exits: 1,
      changes: PAGES,
      act: () => takeAll(flush),
      prepare: giveAll,
      samples: [],
    },
  ];
  const plan = Array.from({ length: ROUNDS + 1 }, () => phases).flat(); // the first time warms up
  let at = 0,
    exit = 0,
    began = 0;
  const bench = definePlugin({
    name: 'views-bench',
    uses: { views: MemoryViewsToken },
    apply({ hooks }, { views }) {
      ({ base } = views);
      hooks.exit.for('vmcall').tap({ name: 'views-bench', before: 'exits/vmcall' }, () => {
        const phase = plan[at];
        if (exit === 0) {
          phase.prepare?.();
          began = performance.now();
        }
        phase.act(exit);
        if (++exit < phase.exits) return RESUME;
        if (at >= phases.length)
          phase.samples.push(((performance.now() - began) * 1e6) / (phase.exits * phase.changes));
        exit = 0;
        return ++at === plan.length ? stop('measured') : RESUME;
      });
    },
  });
  await using vmm = compose({
    backend,
    memory: '512M',
    time: 'real',
    plugins: [...exits(), bootFlat(), bench],
    boot: { image: GUEST, loader: 'flat', options: { address: 0x100000, mode: 'protected32' } },
  });
  const { why } = await vmm.run();
  if (why !== 'measured') throw new Error(`The guest of the views benchmark stopped early: ${why}`);
  return phases.map(({ name, exits: count, changes, samples }) => ({
    name,
    changes: count * changes,
    nanoseconds: summarise(samples),
  }));
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${JSON.stringify(await viewsBench(), null, 2)}\n`);
