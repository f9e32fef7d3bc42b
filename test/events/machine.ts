/** A guest in 64-bit mode (or real mode, on several vCPUs), and a plugin that subscribes to its events. */
import { vmx } from '@visorkit/backend-vmx';
import { GuestMemoryToken, InterruptSourceToken, definePlugin } from '@visorkit/core';
import type { GuestMemory, LogSink, Plugin, PluginHost, StopReport, Vmm } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MemoryViewsToken, PortBusToken, compose, writeIdentityMap } from '@visorkit/machine';
import type { MemoryViews } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { IntrospectionEventsOptions, VmiEvents } from '@visorkit/vmi';
import { encodeGate64 } from '@visorkit/x86';

export const CODE = 0x1000,
  STACK = 0x8000,
  DATA = 0x9000,
  OTHER = 0xa000,
  FUNCTION = 0xb000,
  HANDLER = 0xc000,
  GDT = 0x3000,
  IDT = 0x3800,
  TABLES = 0x2_0000,
  PORT = 0xe0;
const CODE64 = 0x18;

export const le32 = (value: number): number[] =>
  [value, value >>> 8, value >>> 16, value >>> 24].map((byte) => byte & 0xff);
const le64 = (value: bigint): number[] =>
  Array.from({ length: 8 }, (_unused, n) => Number((value >> BigInt(8 * n)) & 0xffn));

/** Instructions of 64-bit code. */
export const asm = {
  hlt: [0xf4],
  nop: [0x90],
  ret: [0xc3],
  int3: [0xcc],
  vmcall: [0x0f, 0x01, 0xc1],
  cpuid: [0x0f, 0xa2],
  iretq: [0x48, 0xcf],
  sti: [0xfb],
  /** MOV EAX, n */
  movEax: (n: number) => [0xb8, ...le32(n)],
  movEcx: (n: number) => [0xb9, ...le32(n)],
  movEdx: (n: number) => [0xba, ...le32(n)],
  movRax: (n: bigint) => [0x48, 0xb8, ...le64(n)],
  /** MOV EAX, [at] and MOV [at], EAX */
  load: (at: number) => [0x8b, 0x04, 0x25, ...le32(at)],
  store: (at: number) => [0x89, 0x04, 0x25, ...le32(at)],
  /** INC dword [at] */
  inc: (at: number) => [0xff, 0x04, 0x25, ...le32(at)],
  /** LOCK XADD [at], EAX */
  xadd: (at: number) => [0xf0, 0x0f, 0xc1, 0x04, 0x25, ...le32(at)],
  /** CALL, of the instruction at `from` */
  call: (from: number, to: number) => [0xe8, ...le32(to - (from + 5))],
  /** OUT PORT, EAX */
  print: [0xe7, PORT],
  inEax: [0xe5, PORT],
  movCr: (cr: number) => [0x0f, 0x22, 0xc0 | (cr << 3)], // MOV CRn, RAX
  readCr: (cr: number) => [0x0f, 0x20, 0xc0 | (cr << 3)],
  wrmsr: [0x0f, 0x30],
} as const;

export interface Parts {
  readonly events: VmiEvents;
  readonly views: MemoryViews;
  readonly memory: GuestMemory;
  readonly host: PluginHost;
  /** Puts read-only memory outside RAM. */
  readonly rom: (gpa: number, bytes: Uint8Array) => void;
}

export interface GuestOptions {
  readonly code: readonly (readonly number[])[];
  /** Bytes by address. */
  readonly data?: Readonly<Record<number, readonly number[]>>;
  /** Handlers of exceptions by vector, at addresses where `data` puts them. */
  readonly handlers?: Readonly<Record<number, number>>;
  /** Real-mode code that two vCPUs run; 64-bit code on one unless given. */
  readonly cpus?: 2;
  readonly options?: IntrospectionEventsOptions;
  /** When the plugin is applied. */
  readonly apply?: (parts: Parts) => void;
  /** When the image is in memory. */
  readonly subscribe?: (parts: Parts) => void;
  readonly plugins?: readonly Plugin[];
  readonly log?: LogSink;
}

export interface Machine extends AsyncDisposable {
  readonly vmm: Vmm;
  readonly parts: Parts;
  /** What the guest printed: 32-bit numbers. */
  readonly output: number[];
  run(maxInstructions?: number): Promise<StopReport>;
}

/** INIT and start-up of the second vCPU, as its local APIC would pass them on. */
function startSecond(): Plugin {
  let vector = CODE >> 12;
  const idle = { pending: () => false, acknowledge: () => 0 };
  const takeStartup = (): number => {
    const taken = vector;
    vector = -1;
    return taken;
  };
  return providing(InterruptSourceToken, {
    ...idle,
    forVcpu: (index: number) => (index === 1 ? { ...idle, takeStartup } : idle),
  });
}

/** Composes and loads the machine. */
export async function machineOf(guest: GuestOptions): Promise<Machine> {
  const output: number[] = [];
  let parts!: Parts;
  const long = guest.cpus === undefined;
  const backend = vmx();
  const plugin = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken, ports: PortBusToken, views: MemoryViewsToken, events: VmiEventsToken },
    apply(host, { memory, ports, views, events }) {
      parts = { events, views, memory, host, rom: (gpa, bytes) => backend.mapRom(gpa, bytes) };
      const port = {
        readPort: () => 0x1234,
        writePort: (_port: number, _size: number, value: number) => void output.push(value),
      };
      ports.register(PORT, 4, port, 'guest');
      guest.apply?.(parts);
      host.hooks.load.tap(() => {
        memory.write(CODE, Uint8Array.from(guest.code.flat()));
        for (const [gpa, bytes] of Object.entries(guest.data ?? {})) memory.write(Number(gpa), Uint8Array.from(bytes));
        if (!long) {
          host.vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE), rsp: BigInt(STACK) });
          return;
        }
        [0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00af_9b00_0000_ffffn].forEach((entry, index) =>
          memory.writeU64(GDT + index * 8, entry),
        );
        for (const [vector, handler] of Object.entries(guest.handlers ?? {}))
          encodeGate64(CODE64, BigInt(handler), 14).forEach((word, half) =>
            memory.writeU64(IDT + Number(vector) * 16 + half * 8, word),
          );
        writeIdentityMap(memory, TABLES);
        host.vcpus[0].setInitialState({
          mode: 'long64',
          rip: BigInt(CODE),
          rsp: BigInt(STACK),
          cr3: BigInt(TABLES),
          segments: { cs: { selector: CODE64, base: 0n, limit: 0xffff_ffff, accessRights: 0xa09b } },
          gdtr: { base: BigInt(GDT), limit: 0x1f },
          idtr: { base: BigInt(IDT), limit: 0xfff },
        });
      });
      host.hooks.loaded.tap(() => guest.subscribe?.(parts));
    },
  });
  const vmm = compose({
    backend,
    memory: '1M',
    time: 'virtual',
    ...(guest.cpus === undefined ? {} : { cpus: guest.cpus }),
    ...(guest.log === undefined ? {} : { log: guest.log }),
    plugins: [
      introspectionEvents(guest.options),
      plugin,
      ...(guest.plugins ?? []),
      ...exits(),
      ...(long ? [] : [startSecond()]),
    ],
  });
  await vmm.create();
  return {
    vmm,
    parts,
    output,
    run: (maxInstructions = 100_000) => vmm.run({ maxInstructions }),
    [Symbol.asyncDispose]: () => vmm.dispose(),
  };
}

/** Runs a guest to its end, which must be HLT; its exits by name and what it printed. */
export async function runGuest(
  guest: GuestOptions,
): Promise<{ exits: Readonly<Record<string, number>>; output: number[] }> {
  await using machine = await machineOf(guest);
  const report = await machine.run();
  if (report.reason !== 'halted') throw new Error(`${report.why} ${JSON.stringify(report.error ?? '')}`);
  return { exits: report.exits, output: machine.output };
}
