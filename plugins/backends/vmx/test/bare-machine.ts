/**
 * vCPUs of the vmx backend without a kernel around them: a test has the guest make one access at a time, and sees what came of it.
 *
 * The guest is in 64-bit mode. Linear addresses are guest-physical ones: the first 2 MiB by a page table of 4 KiB pages, the others by pages of
 * 2 MiB. The same 2 MiB are seen at ALIAS too, by one page of 2 MiB.
 */
import { ControlBook, Gpr } from '@visorkit/core';
import type { ControlNeeds, GuestMemory, ServiceSink, Token } from '@visorkit/core';
import * as layout from '@visorkit/engine/layout';
import { MemoryViewsToken, writeIdentityMap } from '@visorkit/machine';
import type { MemoryViews } from '@visorkit/machine';
import { ExitReason } from '@visorkit/x86';
import { VMX_CONTROLS, VmxBackend } from '../src/index.js';
import type { VmxVcpu, VmxVcpuState } from '../src/index.js';

const CODE = 0x1000;
const STACK = 0x8000;
export const TABLES = 0x2_0000;
/** The page directory of the first GiB, and the page table of its first 2 MiB. */
export const DIRECTORY = TABLES + 0x2000;
export const PAGE_TABLE = 0x3_0000;
export const ALIAS = 0x600_0000;
const VMCALL = [0x0f, 0x01, 0xc1];
/** What the guest can do: address in its code, and the instruction. */
const DO = {
  read: [CODE, [0x8a, 0x06]], // MOV AL, [RSI]
  write: [CODE + 0x10, [0x88, 0x06]], // MOV [RSI], AL
  call: [CODE + 0x20, [0xff, 0xd6]], // CALL RSI
  vmfunc: [CODE + 0x30, [0x0f, 0x01, 0xd4]],
} as const;

/** AL, or which access the view did not allow: to `page` itself, or of a walk through a paging structure there. */
export type Result = number | `${'read' | 'write' | 'execute' | 'walk'} ${string}`;

export interface SavedMachine {
  readonly memory: Uint8Array;
  readonly backend: unknown;
  readonly vcpus: readonly VmxVcpuState[];
}

export class BareMachine {
  readonly backend = new VmxBackend();
  readonly vcpus: VmxVcpu[] = [];
  memory!: GuestMemory;
  views!: MemoryViews;

  static async create(options: { cpus?: number; memory?: number; needs?: ControlNeeds } = {}): Promise<BareMachine> {
    const { cpus = 1, memory = 16 << 20, needs = {} } = options,
      machine = new BareMachine(),
      { backend } = machine;
    const controls = new ControlBook(VMX_CONTROLS, 'vmx', cpus, [{ name: 'test', needs }]).of(0);
    await backend.open({ cpus, memory, time: 'virtual', controls });
    machine.memory = backend.createMemory(memory);
    for (let index = 0; index < cpus; index++) machine.vcpus.push(backend.createVcpu(index) as VmxVcpu);
    backend.provideServices({
      provide: (token: Token<unknown>, value: unknown) => {
        if (token === MemoryViewsToken) machine.views = value as MemoryViews;
      },
    } as ServiceSink);
    machine.#load();
    return machine;
  }

  /** Counter `index` of the engine: 0 flushes, 1 translations made. */
  counter(index: number): number {
    return this.backend.engine.words[(layout.COUNTERS >>> 2) + index];
  }

  read(linear: number, cpu = 0): Result {
    return this.#do('read', linear, 0, cpu);
  }
  write(linear: number, value: number, cpu = 0): Result {
    return this.#do('write', linear, value, cpu);
  }
  /** Calls what is there: see `putCode`. */
  call(linear: number, cpu = 0): Result {
    return this.#do('call', linear, 0, cpu);
  }
  vmfunc(index: number, cpu = 0): Result {
    this.vcpus[cpu].setRegister(Gpr.RCX, BigInt(index));
    return this.#do('vmfunc', 0, 0, cpu);
  }

  /** Code that gives `value` in AL. */
  static codeOf(value: number): Uint8Array {
    return Uint8Array.of(0xb0, value, 0xc3);
  }

  save(): SavedMachine {
    return structuredClone({
      memory: this.memory.read(0, this.memory.size),
      backend: this.backend.saveState(),
      vcpus: this.vcpus.map((vcpu) => vcpu.saveState()),
    });
  }
  restore({ memory, backend, vcpus }: SavedMachine): void {
    this.memory.write(0, memory);
    this.backend.restoreState(backend);
    this.vcpus.forEach((vcpu, index) => vcpu.restoreState(vcpus[index]));
  }

  #load(): void {
    const { memory } = this;
    writeIdentityMap(memory, TABLES);
    memory.writeU64(DIRECTORY, BigInt(PAGE_TABLE) | 3n);
    for (let page = 0; page < 512; page++) memory.writeU64(PAGE_TABLE + page * 8, BigInt(page * 4096) | 3n);
    memory.writeU64(DIRECTORY + (ALIAS >>> 21) * 8, 0x83n);
    for (const [at, instruction] of Object.values(DO)) memory.write(at, Uint8Array.from([...instruction, ...VMCALL]));
    for (const vcpu of this.vcpus)
      vcpu.setInitialState({
        mode: 'long64',
        rip: BigInt(CODE),
        rsp: BigInt(STACK),
        cr3: BigInt(TABLES),
        segments: { cs: { selector: 8, base: 0n, limit: 0xffff_ffff, accessRights: 0xa09b } },
      });
  }

  #do(what: keyof typeof DO, linear: number, value: number, cpu: number): Result {
    const vcpu = this.vcpus[cpu];
    vcpu.setRegister(Gpr.RAX, BigInt(value));
    vcpu.setRegister(Gpr.RSI, BigInt(linear));
    vcpu.setRegister(Gpr.RSP, BigInt(STACK));
    vcpu.rip = BigInt(DO[what][0]);
    const exit = vcpu.run();
    if (exit.reason === ExitReason.VMCALL) return vcpu.getRegister32(Gpr.RAX) & 0xff;
    if (exit.reason !== ExitReason.EPT_VIOLATION) throw new Error(`exit ${exit.reason} at 0x${vcpu.rip.toString(16)}`);
    const { qualification, gpa } = exit,
      kind =
        (qualification & 0x100) === 0
          ? 'walk'
          : (qualification & 2) !== 0
            ? 'write'
            : (qualification & 4) !== 0
              ? 'execute'
              : 'read';
    return `${kind} ${(gpa - (gpa % 4096)).toString(16)}`;
  }
}
