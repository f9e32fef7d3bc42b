/**
 * What events of introspection cost a guest that runs: with a subscriber, and after it has gone. A program of its own: `node dist/events-bench.js`.
 * Prints JSON.
 */
import { vmx } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { RESUME, definePlugin, stop } from '@visorkit/core';
import type { Undo } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { compose } from '@visorkit/machine';
import { VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { VmiEvents } from '@visorkit/vmi';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface EventCost {
  readonly name: string;
  /** In each of the rounds. */
  readonly events: number;
  /** Of one event, less what the guest's loop takes by itself; CPU time. */
  readonly nanoseconds: Summary;
  /** Time of the loop after the last subscriber has gone, in times of what it took before there was one; of the fastest rounds. */
  readonly afterwards: number;
}

const ROUNDS = 9;
const EVENTS = 100_000;
const START = 0x10_0000,
  FUNCTION = 0x20_0000,
  WATCHED = 0x21_0000;

const le32 = (value: number): number[] => [value, value >> 8, value >> 16, value >> 24].map((byte) => byte & 0xff);
const VMCALL = [0x0f, 0x01, 0xc1];
const MOV_RAX_CR3 = [0x0f, 0x20, 0xd8];
/** MOV ECX, EVENTS; 1: the body; DEC ECX; JNZ 1b */
const loop = (body: readonly number[]): number[] => [
  0xb9,
  ...le32(EVENTS),
  ...body,
  0xff,
  0xc9,
  0x75,
  256 - body.length - 4,
];

interface Kind {
  readonly name: string;
  readonly body: (at: number) => readonly number[];
  readonly subscribe: (events: VmiEvents, count: () => void) => Undo;
}

const KINDS: readonly Kind[] = [
  {
    name: 'hidden breakpoint: hit and step',
    body: (at) => [0xe8, ...le32(FUNCTION - (at + 5))],
    subscribe: (events, count) => events.breakpointAt({ gpa: FUNCTION }, count),
  },
  {
    name: 'CR3 write',
    body: () => [0x0f, 0x22, 0xd8],
    subscribe: (events, count) => events.register({ register: 'cr3' }, count),
  },
  {
    name: 'CR3 write, filtered away by onChange',
    body: () => [0x0f, 0x22, 0xd8],
    subscribe: (events, count) => {
      const undos = [
        events.register({ register: 'cr3', onChange: true }, () => {}),
        events.vmexit({ exits: ['control-register'] }, count),
      ];
      return () => {
        for (const undo of undos) undo();
      };
    },
  },
  {
    name: 'write to a watched page',
    body: () => [0x89, 0x04, 0x25, ...le32(WATCHED)],
    subscribe: (events, count) => events.memory({ gpa: WATCHED, access: 'w' }, count),
  },
  {
    name: 'single step',
    body: () => [0x90],
    subscribe: (events, count) => events.singleStep({}, count),
  },
];

/** Each kind's loop between two VMCALLs, for ever. */
function guest(): Uint8Array {
  const code = [...MOV_RAX_CR3];
  for (const { body } of KINDS) {
    code.push(...VMCALL);
    code.push(...loop(body(START + code.length + 5)));
  }
  code.push(...VMCALL, 0xe9, ...le32(-(code.length + VMCALL.length + 5)));
  return Uint8Array.from(code);
}

/** CPU time of the process in ms: what else runs on the machine matters less to it than to the time of day. */
function processTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Without a subscriber, with one, after it has gone. */
const STATES = ['before', 'subscribed', 'after'] as const;

export async function eventsBench(): Promise<EventCost[]> {
  const samples = KINDS.map(() => ({ before: [] as number[], subscribed: [] as number[], after: [] as number[] }));
  let seen = 0;
  const bench = definePlugin({
    name: 'events-bench',
    uses: { events: VmiEventsToken },
    apply({ hooks }, { events }) {
      let round = -1,
        kind = KINDS.length,
        began = 0;
      let undo: Undo | undefined;
      hooks.exit.for('vmcall').tap({ name: 'events-bench', before: 'exits/vmcall' }, () => {
        const now = processTime(),
          state = STATES[Math.max(round, 0) % STATES.length];
        if (kind < KINDS.length) {
          if (round >= STATES.length) samples[kind][state].push(now - began); // the first round of each state warms up
          if (undo !== undefined && seen < EVENTS)
            throw new Error(`${KINDS[kind].name}: ${seen} of ${EVENTS} events were told.`);
          undo?.();
          undo = undefined;
          kind++;
        } else {
          kind = 0;
          round++;
        }
        if (round === (ROUNDS + 1) * STATES.length) return stop('measured');
        if (kind < KINDS.length && STATES[round % STATES.length] === 'subscribed') {
          seen = 0;
          undo = KINDS[kind].subscribe(events, () => {
            seen++;
          });
        }
        began = processTime();
        return RESUME;
      });
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: '16M',
    time: 'real',
    plugins: [...exits(), bootFlat(), introspectionEvents(), bench],
    boot: { image: guest(), loader: 'flat', options: { address: START, mode: 'long64' } },
  });
  await vmm.load();
  vmm.memory.write(FUNCTION, Uint8Array.of(0x90, 0xc3));
  const report = await vmm.run();
  if (report.why !== 'measured') throw new Error(`The guest of the events benchmark stopped early: ${report.why}`);
  return KINDS.map(({ name }, index) => {
    const { before, subscribed, after } = samples[index];
    const alone = summarise(before);
    return {
      name,
      events: EVENTS,
      nanoseconds: summarise(subscribed.map((time) => ((time - alone.median) * 1e6) / EVENTS)),
      afterwards: summarise(after).least / alone.least,
    };
  });
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${JSON.stringify(await eventsBench(), null, 2)}\n`);
