/** What plugins do with views, in whole VMs; small guests that read and write a page which they have used. */
import { describe, expect, it } from 'vitest';
import { GuestMemoryToken, RESUME, RETRY, definePlugin } from '@visorkit/core';
import type { GuestMemory, Plugin, PluginHost } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MemoryViewsToken, PageRights, PortBusToken, compose } from '@visorkit/machine';
import type { MemoryViews } from '@visorkit/machine';
import { VmxBackend } from './index.js';

const PAGE = 0x2000;
const READ_AND_PRINT = [0xa0, 0x00, 0x20, 0xba, 0xf8, 0x03, 0xee]; // MOV AL, [2000H]; MOV DX, 3F8H; OUT DX, AL
const WRITE = [0xa2, 0x00, 0x20]; // MOV [2000H], AL
const VMCALL = [0x0f, 0x01, 0xc1];
const HLT = 0xf4;
const decoy = new Uint8Array(4096).fill(0xcc);

interface Guest {
  code: readonly number[];
  needs?: Plugin['needs'];
  started?: (views: MemoryViews) => void;
  vmcall?: (views: MemoryViews) => void;
  apply?: (host: PluginHost, views: MemoryViews, memory: GuestMemory) => void;
}

/** Runs 16-bit code; what it printed. */
async function run({ code, needs, started, vmcall, apply }: Guest): Promise<number[]> {
  const output: number[] = [];
  const plugin = definePlugin({
    name: 'views',
    capabilities: ['ept.views', 'ept.execute-only'],
    uses: { views: MemoryViewsToken, memory: GuestMemoryToken, ports: PortBusToken },
    ...(needs === undefined ? {} : { needs }),
    apply(host, { views, memory, ports }) {
      const { hooks, vcpus } = host;
      const port = {
        readPort: () => 0,
        writePort: (_port: number, _size: number, value: number) => void output.push(value),
      };
      ports.register(0x3f8, 1, port, 'views');
      hooks.load.tap(() => {
        memory.write(0x1000, Uint8Array.from([...code, HLT]));
        vcpus[0].setInitialState({ mode: 'real16', rip: 0x1000n, rsp: 0x8000n });
      });
      hooks.started.tap('views', () => started?.(views));
      hooks.exit.for('vmcall').tap({ name: 'views', before: 'exits/vmcall' }, () => {
        vmcall?.(views);
        return RESUME;
      });
      apply?.(host, views, memory);
    },
  });
  const vmm = compose({ backend: new VmxBackend(), memory: '1M', time: 'virtual', plugins: [plugin, ...exits()] });
  const report = await vmm.run({ maxInstructions: 100_000 });
  await vmm.dispose();
  expect(report).toMatchObject({ reason: 'halted' });
  return output;
}

describe('a plugin', () => {
  it('hides a page that the guest has read', async () => {
    const output = await run({
      code: [...READ_AND_PRINT, ...VMCALL, ...READ_AND_PRINT],
      vmcall: ({ base }) => base.hide(PAGE, decoy),
    });
    expect(output).toEqual([0, 0xcc]);
  });

  it.each(['flags', 'log'] as const)('hears of each write between two harvests, by %s', async (how) => {
    const harvests: number[][] = [];
    await run({
      code: Array.from({ length: 19 }, () => [...WRITE, ...VMCALL]).flat(),
      started: (views) => views.trackDirty(how),
      vmcall: ({ base }) => void harvests.push(base.dirtyPages()),
    });
    expect(harvests).toEqual(Array.from({ length: 19 }, () => [PAGE]));
  });

  it('makes a view that has the decoys of the base view', async () => {
    const output = await run({
      code: READ_AND_PRINT,
      started: (views) => {
        views.base.hide(PAGE, decoy);
        views.use(views.create());
      },
    });
    expect(output).toEqual([0xcc]);
  });

  it('lets the guest choose a view, with its decoys', async () => {
    const output = await run({
      // MOV EAX, 0; MOV ECX, 1; VMFUNC
      code: [0x66, 0xb8, 0, 0, 0, 0, 0x66, 0xb9, 1, 0, 0, 0, 0x0f, 0x01, 0xd4, ...READ_AND_PRINT],
      needs: { secondary: ['enable-vm-functions'] },
      started: (views) => {
        views.create().hide(PAGE, decoy);
        views.allowVmfunc();
      },
    });
    expect(output).toEqual([0xcc]);
  });

  it('sees every write to a page that it watches, by one step in another view for each', async () => {
    const values: number[] = [];
    const output = await run({
      // MOV AL, n; MOV [2000H], AL; 19 times; then the last value is printed
      code: [...Array.from({ length: 19 }, (_, n) => [0xb0, n, ...WRITE]).flat(), ...READ_AND_PRINT],
      needs: { primary: ['monitor-trap-flag'] },
      apply: ({ hooks, vcpus: [vcpu] }, views) => {
        let watching: ReturnType<MemoryViews['create']>;
        hooks.started.tap('watch', () => {
          watching = views.create();
          watching.protect(PAGE, PageRights.RX);
          views.use(watching, vcpu);
        });
        hooks.exit.for('ept-violation').tap('watch', () => {
          values.push(vcpu.getRegister32(0) & 0xff);
          views.use(views.base, vcpu);
          return RETRY;
        });
        hooks.exit.for('monitor-trap-flag').tap('watch', () => {
          views.use(watching, vcpu);
          return RETRY;
        });
      },
    });
    expect(values).toEqual(Array.from({ length: 19 }, (_, n) => n));
    expect(output).toEqual([18]);
  });

  it('puts a breakpoint into a page that can only be executed', async () => {
    const seen: bigint[] = [];
    const output = await run({
      // CALL 2000H; MOV AL, [2000H]; MOV DX, 3F8H; OUT DX, AL. At 2000H: NOP; RET
      code: [0xe8, 0xfd, 0x0f, ...READ_AND_PRINT],
      needs: { exceptions: [3] },
      apply: ({ hooks }, views, memory) => {
        hooks.loaded.tap('breakpoint', () => memory.write(PAGE, Uint8Array.of(0x90, 0xc3)));
        hooks.started.tap('breakpoint', () => {
          const page = views.allocatePage(PAGE);
          page.write(Uint8Array.of(0xcc));
          views.base.hide(PAGE, memory.read(PAGE, 4096));
          views.base.remap(PAGE, page);
        });
        hooks.exit.for('exception').tap('breakpoint', (_exit, vcpu) => {
          seen.push(vcpu.rip);
          return RESUME; // behind the INT3, where the NOP was
        });
      },
    });
    expect([seen, output]).toEqual([[0x2000n], [0x90]]);
  });
});
