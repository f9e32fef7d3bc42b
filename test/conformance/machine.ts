/** A guest on a backend, with devices that note what it does, and what came of it. */
import { GPR_NAMES, GuestMemoryToken, Stage, definePlugin } from '@visorkit/core';
import type { BackendVcpu, GuestMemory, InitialState, Plugin, PluginHost, SavedVm, Vmm } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MmioBusToken, PortBusToken, compose, writeIdentityMap } from '@visorkit/machine';
import type { MmioBus, PortBus } from '@visorkit/machine';
import { encodeGate32, encodeGate64 } from '@visorkit/x86';
import type { ConformingBackend } from './backends.js';
import type { Code } from './code.js';

export const CODE = 0x1000,
  STACK = 0x8000,
  GDT = 0x3000,
  IDT = 0x3800,
  TABLES = 0x2_0000;
/** Port that collects characters, ports that note accesses, device memory. */
export const PRINT = 0x3f8,
  PORTS = 0x10,
  PORT_COUNT = 16,
  DEVICE = 0xd000_0000,
  DEVICE_SIZE = 0x1000;
const CODE32 = 8,
  CODE64 = 0x18;
/** CF, PF, AF, ZF, SF, TF, IF, DF, OF. */
const FLAGS = 0xfd5n;
const TIME_LIMIT = 20;

/** What a case may want of the machine. */
export interface GuestParts {
  readonly memory: GuestMemory;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
}

export interface Guest {
  readonly mode: InitialState['mode'];
  readonly code: Code | readonly number[];
  readonly state?: Partial<InitialState>;
  /** Bytes by address. */
  readonly data?: Readonly<Record<number, Uint8Array | Code>>;
  /** Handlers by vector, at addresses where `data` puts them: entries of the IDT, or of the vector table in real mode. */
  readonly handlers?: Readonly<Record<number, number>>;
  readonly plugins?: () => Plugin[];
  readonly apply?: (host: PluginHost, parts: GuestParts) => void;
  readonly declares?: Partial<Plugin>;
  /** Memory that the outcome shows, by name. */
  readonly shows?: Readonly<Record<string, readonly [gpa: number, length: number]>>;
  readonly memory?: number;
  /** How often the guest halts depends on time: halts one after the other are noted as one. */
  readonly timed?: boolean;
}

/** Plain data, so that two of them can be compared. */
export interface Outcome {
  reason: string;
  why: string;
  output: string;
  /** Accesses to devices and exits whose order the architecture fixes. */
  events: string[];
  registers: Record<string, bigint>;
  rip: bigint;
  flags: bigint;
  memory: Record<string, number[]>;
}

/** What a device gives for a read: bytes that tell the address. */
export function patternAt(address: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + ((address + i + 1) & 0xff);
  return value;
}

export interface Machine {
  readonly vmm: Vmm;
  readonly vcpu: BackendVcpu;
  readonly events: string[];
  readonly noted: Noted;
  /** Pauses the VM when its devices have noted so many more accesses, in the middle of an instruction that makes several. */
  pauseAfter(count: number): void;
  outcome(reason: string, why: string): Outcome;
}

const bytesOf = (part: Uint8Array | Code | readonly number[]): Uint8Array =>
  'build' in part ? part.build() : Uint8Array.from(part);

/** Puts code, tables and data in memory and the vCPU at the code's start. */
function load({ vcpus }: PluginHost, memory: GuestMemory, guest: Guest): void {
  const { mode } = guest;
  memory.write(CODE, bytesOf(guest.code));
  [0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00af_9b00_0000_ffffn].forEach((entry, index) =>
    memory.writeU64(GDT + index * 8, entry),
  );
  if (mode === 'long64') writeIdentityMap(memory, TABLES);
  for (const [vector, handler] of Object.entries(guest.handlers ?? {}).map(([key, value]) => [Number(key), value])) {
    if (mode === 'real16') memory.writeU32(vector * 4, handler);
    else if (mode === 'protected32') memory.writeU64(IDT + vector * 8, encodeGate32(CODE32, handler, 14));
    else
      encodeGate64(CODE64, BigInt(handler), 14).forEach((word, half) =>
        memory.writeU64(IDT + vector * 16 + half * 8, word),
      );
  }
  for (const [gpa, part] of Object.entries(guest.data ?? {})) memory.write(Number(gpa), bytesOf(part));
  const tables: Partial<InitialState> =
    mode === 'real16' ? {} : { gdtr: { base: BigInt(GDT), limit: 0x1f }, idtr: { base: BigInt(IDT), limit: 0xfff } };
  const code64 = { selector: CODE64, base: 0n, limit: 0xffff_ffff, accessRights: 0xa09b };
  vcpus[0].setInitialState({
    mode,
    rip: BigInt(CODE),
    rsp: BigInt(STACK),
    ...tables,
    ...(mode === 'long64' ? { cr3: BigInt(TABLES), segments: { cs: code64 } } : {}),
    ...guest.state,
  });
}

/** What a machine's devices have noted so far. */
export interface Noted {
  readonly output: string;
  readonly events: readonly string[];
}

/** `before`: what the devices had noted when the VM was saved that this machine will go on with. */
export async function createMachine(
  backend: ConformingBackend,
  guest: Guest,
  before: Noted = { output: '', events: [] },
): Promise<Machine> {
  const events: string[] = [...before.events];
  let { output } = before;
  let pauseAt = Infinity;
  const note = (event: string): void => {
    if (events.push(event) >= pauseAt) void vmm.pause();
  };
  const plugin = definePlugin({
    name: 'guest',
    ...guest.declares,
    uses: { memory: GuestMemoryToken, ports: PortBusToken, mmio: MmioBusToken },
    apply(host, parts) {
      const { hooks } = host;
      const { memory, ports, mmio } = parts;
      ports.register(
        PRINT,
        1,
        {
          readPort: () => 0,
          writePort: (_port, _size, value) => {
            output += String.fromCharCode(value);
          },
        },
        'print',
      );
      ports.register(
        PORTS,
        PORT_COUNT,
        {
          readPort: (port, size) => {
            note(`in ${port.toString(16)} ${size}`);
            return patternAt(port, size);
          },
          writePort: (port, size, value) => {
            note(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
          },
        },
        'ports',
      );
      mmio.register(
        DEVICE,
        DEVICE_SIZE,
        {
          readMmio: (offset, size) => {
            note(`read ${offset.toString(16)} ${size}`);
            return patternAt(offset, size);
          },
          writeMmio: (offset, size, value) => {
            note(`write ${offset.toString(16)} ${size} ${value.toString(16)}`);
          },
        },
        'device',
      );
      for (const name of ['hlt', 'rdmsr', 'wrmsr', 'triple-fault'] as const) {
        hooks.exit.for(name).tap({ name: 'note', stage: Stage.Observe }, (_exit, { rcx }) => {
          if (guest.timed !== true || name !== 'hlt' || events.at(-1) !== 'hlt')
            note(name.endsWith('msr') ? `${name} ${(rcx & 0xffff_ffffn).toString(16)}` : name);
          return undefined;
        });
      }
      hooks.load.tap({ name: 'guest', stage: Stage.Machine }, () => load(host, memory, guest));
      guest.apply?.(host, parts);
    },
  });
  const vmm: Vmm = compose({
    backend: backend.make(),
    memory: guest.memory ?? 1 << 20,
    time: backend.time,
    plugins: [plugin, ...exits(), ...(guest.plugins?.() ?? [])],
  });
  await vmm.create();
  const cpu = vmm.vcpus[0] as BackendVcpu;
  return {
    vmm,
    vcpu: cpu,
    events,
    get noted() {
      return { output, events };
    },
    pauseAfter: (count) => {
      pauseAt = events.length + count;
    },
    outcome: (reason, why) => ({
      reason,
      why,
      output,
      events: [...events],
      rip: cpu.rip,
      flags: cpu.rflags & FLAGS,
      registers: Object.fromEntries(GPR_NAMES.map((name, index) => [name, cpu.getRegister(index)])),
      memory: Object.fromEntries(
        Object.entries(guest.shows ?? {}).map(([name, [gpa, length]]) => [name, [...vmm.memory.read(gpa, length)]]),
      ),
    }),
  };
}

/** Runs a guest to its end. */
export async function runOn(backend: ConformingBackend, guest: Guest): Promise<Outcome> {
  const machine = await createMachine(backend, guest);
  try {
    const { reason, why } = await machine.vmm.run({ timeout: TIME_LIMIT });
    return machine.outcome(reason, why);
  } finally {
    await machine.vmm.dispose();
  }
}

/**
 * Runs a guest to its end in pieces, each on a machine of its own that goes on with what was saved of the one before: after so many instructions, or
 * accesses.
 */
export async function runInPieces(
  backend: ConformingBackend,
  guest: Guest,
  pieces: Iterable<{ readonly instructions: number } | { readonly accesses: number }>,
): Promise<Outcome & { instructions: number }> {
  let noted: Noted | undefined;
  let saved: SavedVm | undefined;
  for (const piece of [...pieces, undefined]) {
    const machine = await createMachine(backend, guest, noted);
    try {
      const { vmm } = machine;
      if (saved !== undefined) await vmm.restore(saved);
      if (piece !== undefined && 'accesses' in piece) machine.pauseAfter(piece.accesses);
      const limits = piece !== undefined && 'instructions' in piece ? { maxInstructions: piece.instructions } : {};
      const { reason, why } = await vmm.run({ timeout: TIME_LIMIT, ...limits });
      if (reason !== 'max-instructions' && reason !== 'paused')
        return { ...machine.outcome(reason, why), instructions: vmm.instructions };
      saved = structuredClone(vmm.save());
      noted = machine.noted;
    } finally {
      await machine.vmm.dispose();
    }
  }
  throw new Error('the last piece has no limit');
}
