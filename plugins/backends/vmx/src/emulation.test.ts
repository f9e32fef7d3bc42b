/** What handlers of EPT violations may have done with one access or one instruction, and exits by bit of CR0 and CR4. */
import { describe, expect, it } from 'vitest';
import { GuestMemoryToken, RETRY, definePlugin } from '@visorkit/core';
import type { Outcome, Plugin, Vcpu } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MemoryViewsToken, PageRights, PortBusToken, compose } from '@visorkit/machine';
import type { MemoryViews } from '@visorkit/machine';
import { VmxBackend } from './index.js';

const PAGE = 0x2000;
const LOAD = [0xa1, 0x00, 0x20]; // MOV AX, [2000H]
const PRINT = [0xba, 0xf8, 0x03, 0xef]; // MOV DX, 3F8H; OUT DX, AX
const HLT = 0xf4;

/** Runs 16-bit code with rights taken from PAGE; what it printed, and how often it violated them. */
async function run(
  code: readonly number[],
  rights: number,
  violated: (vcpu: Vcpu, views: MemoryViews) => void,
  more: {
    needs?: Plugin['needs'];
    prepare?: (views: MemoryViews) => void;
    page?: readonly number[];
    exit?: (vcpu: Vcpu) => Outcome | undefined;
    finished?: (views: MemoryViews) => void;
  } = {},
): Promise<{ output: number[]; violations: number; exits: Readonly<Record<string, number>> }> {
  const output: number[] = [];
  let violations = 0;
  const plugin = definePlugin({
    name: 'emulation',
    capabilities: ['emulation'],
    uses: { views: MemoryViewsToken, memory: GuestMemoryToken, ports: PortBusToken },
    ...(more.needs === undefined ? {} : { needs: more.needs }),
    apply({ hooks, vcpus }, { views, memory, ports }) {
      ports.register(
        0x3f8,
        2,
        { readPort: () => 0, writePort: (_port, _size, value) => void output.push(value) },
        'emulation',
      );
      hooks.load.tap(() => {
        memory.write(0x1000, Uint8Array.from([...code, HLT]));
        memory.write(PAGE, Uint8Array.from(more.page ?? [0x34, 0x12]));
        vcpus[0].setInitialState({ mode: 'real16', rip: 0x1000n, rsp: 0x8000n });
      });
      hooks.started.tap(() => {
        views.base.protect(PAGE, rights);
        more.prepare?.(views);
      });
      hooks.exit.for('ept-violation').tap((_exit, vcpu) => {
        violations++;
        violated(vcpu, views);
        return RETRY;
      });
      hooks.exit.for('control-register').tap((_exit, vcpu) => more.exit?.(vcpu));
    },
  });
  await using vmm = compose({
    backend: new VmxBackend(),
    memory: '1M',
    time: 'virtual',
    plugins: [plugin, ...exits()],
  });
  const report = await vmm.run({ maxInstructions: 10_000 });
  expect(report).toMatchObject({ reason: 'halted' });
  more.finished?.(vmm.services.get(MemoryViewsToken));
  return { output, violations, exits: report.exits };
}

describe('an access', () => {
  it('is let through once, each time, and the view stays as it is', async () => {
    const { output, violations } = await run(
      [...LOAD, ...PRINT, ...LOAD, ...PRINT],
      PageRights.EXECUTE,
      ({ emulation }) => {
        expect(emulation).toMatchObject({ kind: 'data', size: 2 });
        emulation!.allow();
      },
    );
    expect([output, violations]).toEqual([[0x1234, 0x1234], 2]);
  });

  it('is let through to the page that is shown, or to the machine’s own', async () => {
    const prepare = (views: MemoryViews): void => {
      const page = views.allocatePage();
      page.write(Uint8Array.of(0x78, 0x56));
      views.base.remap(PAGE, page);
    };
    for (const [page, value] of [
      ['shown', 0x5678],
      ['own', 0x1234],
    ] as const) {
      const { output } = await run([...LOAD, ...PRINT], PageRights.NONE, ({ emulation }) => emulation!.allow(page), {
        prepare,
      });
      expect(output).toEqual([value]);
    }
  });

  it('that reads and writes computes from what it overwrites', async () => {
    // MOV AX, 1; XADD [2000H], AX; print; load; print. Read and write are an exit each where both are trapped
    const code = [0xb8, 1, 0, 0x0f, 0xc1, 0x06, 0x00, 0x20, ...PRINT];
    for (const rights of [PageRights.READ, PageRights.NONE]) {
      const { output, violations } = await run([...code, ...LOAD, ...PRINT], rights, ({ emulation }) =>
        emulation!.allow(),
      );
      expect(output).toEqual([0x1234, 0x1235]);
      expect(violations).toBe(rights === PageRights.READ ? 1 : 3);
    }
  });

  it('may be answered, or left out; the other way round is refused', async () => {
    const answered = await run([...LOAD, ...PRINT], PageRights.NONE, ({ emulation }) => {
      expect(() => emulation!.discard()).toThrow(/Only a data write can be left out; this exit is of a read/);
      expect(() => emulation!.supply(Uint8Array.of(1))).toThrow(/The read is of 2 bytes; it was given 1/);
      emulation!.supply(Uint8Array.of(7, 8));
    });
    expect(answered.output).toEqual([0x807]);
    // MOV [2000H], SP
    const left = await run([0x89, 0x26, 0x00, 0x20, ...LOAD, ...PRINT], PageRights.READ, ({ emulation }) => {
      expect([emulation!.valueLow, emulation!.valueHigh, [...emulation!.bytes()]]).toEqual([0x8000, 0, [0, 0x80]]);
      expect(() => emulation!.supply(Uint8Array.of(1, 2))).toThrow(/Only a data read can be given bytes/);
      emulation!.discard();
    });
    expect(left.output).toEqual([0x1234]);
  });

  it.each(['flags', 'log'] as const)('that is let through counts as a write of the page, by %s', async (how) => {
    let pages: number[] = [];
    // MOV [2000H], SP; MOV [3000H], SP
    await run(
      [0x89, 0x26, 0x00, 0x20, 0x89, 0x26, 0x00, 0x30],
      PageRights.READ,
      ({ emulation }) => emulation!.allow(),
      {
        prepare: (views) => views.trackDirty(how),
        finished: ({ base }) => void (pages = base.dirtyPages()),
      },
    );
    expect(pages).toEqual([PAGE, 0x3000]);
  });

  it('that changes code is seen by the code', async () => {
    // CALL 2000H; MOV byte [2001H], 9; CALL 2000H; print AX. At 2000H: MOV AL, 1; RET
    const call = (at: number): number[] => [0xe8, (PAGE - at - 3) & 0xff, ((PAGE - at - 3) >> 8) & 0xff];
    const { output } = await run(
      [...call(0x1000), 0xc6, 0x06, 0x01, 0x20, 9, ...call(0x1008), 0xb4, 0, ...PRINT],
      PageRights.RX,
      ({ emulation }) => emulation!.allow(),
      { page: [0xb0, 1, 0xc3] },
    );
    expect(output).toEqual([9]);
  });
});

describe('an instruction', () => {
  const CALL = [0xe8, 0xfd, 0x0f]; // CALL 2000H
  const page = [0xb8, 5, 0, 0xc3]; // MOV AX, 5; RET

  it('that may not be fetched is executed once', async () => {
    const { output, violations } = await run(
      [...CALL, ...PRINT],
      PageRights.RW,
      ({ emulation }) => {
        expect(emulation).toMatchObject({ kind: 'fetch', size: 0 });
        emulation!.allow();
      },
      { page },
    );
    expect([output, violations]).toEqual([[5], 2]);
  });

  it('may be another one', async () => {
    const { output } = await run(
      [...CALL, ...PRINT],
      PageRights.RW,
      ({ emulation, rip }) => {
        expect(() => emulation!.execute(new Uint8Array(16))).toThrow(/1 to 15 bytes; got 16/);
        if (rip === 0x2000n) emulation!.execute(Uint8Array.of(0xb8, 6, 0));
        else emulation!.allow();
      },
      { page },
    );
    expect(output).toEqual([6]);
  });

  it('that does not exist raises #UD', async () => {
    // IVT entry 6: print at 3000H
    const { output } = await run(
      [0xc7, 0x06, 0x18, 0, 0x00, 0x30, 0xc7, 0x06, 0x1a, 0, 0, 0, 0xc6, 0x06, 0x00, 0x30, 0xf4, 0xe8, 0xec, 0x0f, HLT],
      PageRights.RW,
      ({ emulation }) => emulation!.execute(Uint8Array.of(0x0f, 0x0b)),
      { page },
    );
    expect(output).toEqual([]);
  });
});

describe('bits of CR0 that exit', () => {
  it('are those that a plugin holds, and the guest reads the register as it is', async () => {
    const seen: bigint[] = [];
    // MOV EAX, CR0; XOR AL, 8 (TS); MOV CR0, EAX; XOR AL, 2 (MP); MOV CR0, EAX; CLTS; SMSW AX; print
    const code = [
      0x0f,
      0x20,
      0xc0,
      0x34,
      8,
      0x0f,
      0x22,
      0xc0,
      0x34,
      2,
      0x0f,
      0x22,
      0xc0,
      0x0f,
      0x06,
      0x0f,
      0x01,
      0xe0,
      ...PRINT,
    ];
    const { output, exits: counted } = await run(code, PageRights.RWX, () => {}, {
      needs: { crBits: { cr0: 8n } },
      exit: (vcpu) => void seen.push(vcpu.getControlRegister(0) & 0xan),
    });
    expect(seen).toEqual([0n, 0xan]); // before the first write, and before CLTS
    expect(counted['control-register']).toBe(2);
    expect(output.map((value) => value & 0xa)).toEqual([2]);
  });
});
