/** Samples: what is said of code, and that the guest does not notice. */
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import type { InitialState, RunOptions, StopReport } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { CodeSamplerToken, compose } from '@visorkit/machine';
import type { CodeSample, CodeSampler } from '@visorkit/machine';
import { describe, expect, it } from 'vitest';
import { vmx } from './index.js';

const CODE = 0x1000;
const EVERY = 1009;

interface Sampled {
  readonly samples: CodeSample[];
  readonly report: StopReport;
}

interface Options {
  readonly at?: number;
  readonly mode?: InitialState['mode'];
  readonly translate?: boolean | number;
  readonly every?: number;
  /** Instructions at which each of several runs ends. */
  readonly pieces?: readonly number[];
  readonly use?: (sampler: CodeSampler) => void;
  readonly time?: 'real' | 'virtual';
  /** Of the last run. */
  readonly limit?: RunOptions;
}

/** Runs code, taking samples unless `every` is 0. */
async function sampled(code: readonly number[], options: Options = {}): Promise<Sampled> {
  const { at = CODE, mode = 'protected32', translate = 50, every = EVERY, pieces = [], use } = options,
    { time = 'virtual', limit = { maxInstructions: 10_000_000 } } = options;
  const samples: CodeSample[] = [];
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken, sampler: CodeSamplerToken },
    apply({ hooks, vcpus, onDispose }, { memory, sampler }) {
      if (every > 0) onDispose(sampler.start(every, (sample) => void samples.push(sample)));
      use?.(sampler);
      hooks.load.tap('guest', () => {
        memory.write(at, Uint8Array.from(code));
        vcpus[0].setInitialState({ mode, rip: BigInt(at), rsp: 0x8000n });
      });
    },
  });
  await using vmm = compose({
    backend: vmx({ translate }),
    memory: 1 << 20,
    time,
    plugins: [guest, ...exits()],
  });
  for (const maxInstructions of pieces) await vmm.run({ maxInstructions });
  return { samples, report: await vmm.run(limit) };
}

const reasons = ({ samples }: Sampled): Map<string | undefined, number> => {
  const counts = new Map<string | undefined, number>();
  for (const { why } of samples) counts.set(why, (counts.get(why) ?? 0) + 1);
  return counts;
};

const bytes32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const MOV_ECX = (value: number): number[] => [0xb9, ...bytes32(value)];
const DEC_ECX = 0x49;
const HLT = [0xfa, 0xf4];
const JMP_SELF = [0xeb, 0xfe];
const SERIALIZE = [0x0f, 0x01, 0xe8];
const FS_MOV = [0x64, 0x8b, 0x05, ...bytes32(0x2000)];
const TURNS = 200_000;
/** ADD EAX, ECX; DEC ECX; JNZ. */
const LOOP = [0x01, 0xc8, DEC_ECX, 0x75, 0xfb];
const HOT = [...MOV_ECX(TURNS), ...LOOP];
const HELD = [...MOV_ECX(TURNS), ...SERIALIZE, DEC_ECX, 0x75, 0xfa];

describe('samples', () => {
  it('are of code that runs translated, when it is hot', async () => {
    const done = await sampled([...HOT, ...HLT]);
    const { samples, report } = done;
    expect(samples).toHaveLength(Math.floor(report.guestInstructions / EVERY));
    expect(reasons(done).get(undefined)).toBeGreaterThan(samples.length * 0.95);
    const translated = samples.filter(({ why }) => why === undefined);
    expect(new Set(translated.map(({ start, bits, blamed }) => `${start} ${bits} ${blamed}`))).toEqual(
      new Set([`${CODE + 5} 32 undefined`]),
    );
    for (const { address } of translated) expect([5, 7, 8].map((offset) => BigInt(CODE + offset))).toContain(address);
    // as many as have run translated, but for what each sample lets be interpreted
    expect(report.statistics!['instructions run translated']! / report.guestInstructions).toBeGreaterThan(0.95);
  });

  it('name the instruction that keeps code from being translated', async () => {
    const done = await sampled([...HELD, ...HLT]);
    // it ends its block, so that what is behind it is translated
    const held = done.samples.filter(({ address }) => address === BigInt(CODE + 5));
    expect(held.length).toBeGreaterThan(done.samples.length / 4);
    expect(new Set(held.map(({ why }) => why))).toEqual(new Set(['instruction']));
    for (const { blamed } of held) {
      expect(blamed!.address).toBe(BigInt(CODE + 5));
      expect([...blamed!.bytes.slice(0, 3)]).toEqual(SERIALIZE);
    }
    expect(reasons(done).get(undefined)).toBeGreaterThan(done.samples.length / 2);
  });

  it.each<[string, readonly number[], Options]>([
    // MOV EAX, FS:[2000H]; ADD EAX, ECX; DEC ECX; JNZ
    ['segments that are looked at', [...MOV_ECX(TURNS), ...FS_MOV, 0x01, 0xc8, DEC_ECX, 0x75, 0xf4], {}],
    // INC AX; DEC ECX; JNZ: the prefix makes counts of 32 bits
    ['16-bit code', [0x66, ...MOV_ECX(TURNS), 0x40, 0x66, DEC_ECX, 0x75, 0xfb], { mode: 'real16' }],
  ])('are translated with %s too', async (_, code, options) => {
    const done = await sampled([...code, ...HLT], options);
    expect(reasons(done).get(undefined)).toBeGreaterThan(done.samples.length * 0.95);
    expect(done.samples.length).toBeGreaterThan(400);
  });

  it.each<[string, readonly number[], Options]>([
    ['off', [...HOT, ...HLT], { translate: false }],
    ['cold', [...HOT, ...HLT], { translate: 1_000_000 }],
  ])('say %s', async (why, code, options) => {
    const done = await sampled(code, options);
    expect(done.samples.length).toBeGreaterThan(100);
    expect([...reasons(done).keys()]).toEqual([why]);
  });

  it('say that an instruction crosses into another page', async () => {
    // ADD EAX, 1 begins a byte before the page's end
    const loop = [0x05, ...bytes32(1), DEC_ECX, 0x75, 0xf8];
    const done = await sampled([...MOV_ECX(TURNS), ...loop, ...HLT], { at: 0x2000 - 6 });
    const crossing = done.samples.filter(({ why }) => why === 'crossing');
    expect(crossing.length).toBeGreaterThan(done.samples.length * 0.2);
    expect(new Set(crossing.map(({ address }) => address))).toEqual(new Set([0x1fffn]));
  });

  it('say that code was written', async () => {
    // ADD EAX, ECX; MOV BYTE [CODE + 5], 1, beside the loop; DEC ECX; JNZ
    const loop = [0x01, 0xc8, 0xc6, 0x05, ...bytes32(CODE + 5), 0x01, DEC_ECX, 0x75, 0xf4];
    const done = await sampled([...MOV_ECX(TURNS), ...loop, ...HLT]);
    expect(reasons(done).get('written')).toBeGreaterThan(done.samples.length * 0.9);
  });

  it('do not change what the guest does', async () => {
    const seen = ({ report }: Sampled): unknown => {
      const { guestInstructions, guestNanoseconds, exits: taken, reason } = report;
      return { guestInstructions, guestNanoseconds, taken, reason };
    };
    const code = [...HOT, 0x0f, 0xa2, ...HELD, 0xe6, 0x80, ...HOT, ...HLT]; // with a CPUID and an OUT
    const plain = await sampled(code, { every: 0 });
    expect(plain.samples).toEqual([]);
    for (const every of [1000, 1009, 100_003]) expect(seen(await sampled(code, { every }))).toEqual(seen(plain));
    expect(seen(await sampled(code, { pieces: [1000, 17, 50_000] }))).toMatchObject({
      guestInstructions: plain.report.guestInstructions,
    });
  });

  it('let a run in real time end when it is to', async () => {
    let taken = 0;
    const { report } = await sampled([...JMP_SELF], {
      every: 0,
      time: 'real',
      limit: { timeout: 0.01 },
      use: (sampler) =>
        sampler.start(1000, () => {
          if (++taken > 100_000) throw new Error('The run goes on for ever.');
        }),
    });
    expect(report.reason).toBe('timeout');
    expect(taken).toBeGreaterThan(0);
  });

  it('end when nobody wants them any more', async () => {
    const taken: CodeSample[] = [];
    const { report } = await sampled([...HOT, ...HLT], {
      every: 0,
      use: (sampler) => {
        const stop = sampler.start(10_007, (sample) => {
          taken.push(sample);
          if (taken.length === 3) stop();
        });
      },
    });
    expect(report.reason).toBe('halted');
    expect(taken).toHaveLength(3);
  });

  it('are refused where they would be too many, or taken already', async () => {
    for (const every of [999, 1000.5, 0, Number.NaN]) {
      await sampled([...HLT], {
        every: 0,
        use: (sampler) =>
          expect(() => sampler.start(every, () => {})).toThrow(expect.objectContaining({ code: 'CODE_SAMPLES' })),
      });
    }
    await sampled([...HLT], {
      use: (sampler) =>
        expect(() => sampler.start(2000, () => {})).toThrow(expect.objectContaining({ code: 'CODE_SAMPLES' })),
    });
  });
});
