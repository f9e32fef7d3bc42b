/** For tests: a small hypervisor in 64-bit code, put together instruction by instruction, and the machine that it runs on. */
import { vmx } from '@visorkit/backend-vmx';
import { RESUME, definePlugin } from '@visorkit/core';
import type { Plugin, SavedVm, StopReport, Vcpu, Vmm } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { compose } from '@visorkit/machine';
import { VmcsField as F } from '@visorkit/x86';
import { NestedVmxToken, nestedVmx } from './index.js';
import type { NestedVmx, NestedVmxOptions } from './index.js';

/** Where things are: guest-physical, and linear as well. */
export const AT = {
  code: 0x1000,
  guest: 0x4000,
  handler: 0x6000,
  stack: 0x9000,
  guestStack: 0xa000,
  tables: 0x10000,
  vmxon: 0x20000,
  vmcs: 0x21000,
  /** Results, 8 bytes each. */
  results: 0x30000,
  ept: 0x40000,
  free: 0x50000,
} as const;
export const MEMORY = 8 * 2 ** 20;

const bytes = (value: bigint | number, count: number): number[] =>
  Array.from({ length: count }, (_, at) => Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(8 * at)) & 0xffn));
const absolute = (address: number): number[] => [0x25, ...bytes(address, 4)];

/** 64-bit code. RAX and RDX are used up. */
export class Code {
  readonly bytes: number[] = [];
  add(...more: number[]): this {
    this.bytes.push(...more);
    return this;
  }
  mov(register: 0 | 1 | 2 | 3, value: bigint | number): this {
    return this.add(0x48, 0xb8 + register, ...bytes(value, 8));
  }
  /** MOV [address], RAX. */
  store(address: number): this {
    return this.add(0x48, 0x89, 0x04, ...absolute(address));
  }
  /** MOV RAX, [address]. */
  load(address: number): this {
    return this.add(0x48, 0x8b, 0x04, ...absolute(address));
  }
  /** RFLAGS to memory. */
  flags(address: number): this {
    return this.add(0x9c, 0x8f, 0x04, ...absolute(address));
  }
  writeMsr(index: number, value: number): this {
    return this.mov(1, index).mov(0, value).mov(2, 0).add(0x0f, 0x30);
  }
  vmxon(pointer: number): this {
    return this.add(0xf3, 0x0f, 0xc7, 0x34, ...absolute(pointer));
  }
  vmclear(pointer: number): this {
    return this.add(0x66, 0x0f, 0xc7, 0x34, ...absolute(pointer));
  }
  vmptrld(pointer: number): this {
    return this.add(0x0f, 0xc7, 0x34, ...absolute(pointer));
  }
  vmwrite(field: number, value: bigint | number): this {
    return this.mov(0, field).mov(2, value).add(0x0f, 0x79, 0xc2);
  }
  /** VMREAD to memory, by RDX. */
  vmread(field: number, address: number): this {
    return this.mov(0, field).add(0x0f, 0x78, 0xc2, 0x48, 0x89, 0x14, ...absolute(address));
  }
  vmlaunch(): this {
    return this.add(0x0f, 0x01, 0xc2);
  }
  vmresume(): this {
    return this.add(0x0f, 0x01, 0xc3);
  }
  vmcall(): this {
    return this.add(0x0f, 0x01, 0xc1);
  }
  vmxoff(): this {
    return this.add(0x0f, 0x01, 0xc4);
  }
  cpuid(): this {
    return this.add(0x0f, 0xa2);
  }
  halt(): this {
    return this.add(0xf4);
  }
  /** Adds the length of the exit's instruction to the guest's RIP. */
  skipInstruction(): this {
    return this.mov(0, F.EXIT_INSTRUCTION_LENGTH)
      .add(0x0f, 0x78, 0xc1) // VMREAD RCX
      .mov(0, F.GUEST_RIP)
      .add(0x0f, 0x78, 0xc2, 0x48, 0x01, 0xca, 0x0f, 0x79, 0xc2); // VMREAD RDX; ADD RDX, RCX; VMWRITE
  }
}

const VMX_POINTERS = AT.results + 0xf00;

/** IA32_FEATURE_CONTROL, CR4.VMXE, CR0.NE, VMXON. */
export function enterVmx(code: Code): Code {
  return code
    .writeMsr(0x3a, 5)
    .add(0x0f, 0x20, 0xe0, 0x48, 0x0d, ...bytes(0x2000, 4), 0x0f, 0x22, 0xe0) // MOV RAX, CR4; OR; MOV CR4, RAX
    .add(0x0f, 0x20, 0xc0, 0x48, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xc0) // the same with CR0.NE
    .vmxon(VMX_POINTERS)
    .vmclear(VMX_POINTERS + 8)
    .vmptrld(VMX_POINTERS + 8);
}

const NO_LINK = 0xffff_ffff_ffff_ffffn;
const SEGMENTS = [0, 1, 2, 3, 4, 5, 6, 7] as const;
/** What a VMCS needs for a guest like the hypervisor itself, with the least controls; [field, value]. */
export const FIELDS: readonly (readonly [number, bigint | number])[] = [
  [F.PIN_CONTROLS, 0x16],
  [F.PRIMARY_CONTROLS, 0x0400_6172],
  [F.EXIT_CONTROLS, 0x0003_6ffb | (3 << 20)],
  [F.ENTRY_CONTROLS, 0x0000_13fb | (1 << 15)],
  [F.VMCS_LINK_POINTER, NO_LINK],
  [F.GUEST_CR0, 0x8000_0031n],
  [F.GUEST_CR3, AT.tables],
  [F.GUEST_CR4, 0x2020],
  [F.GUEST_IA32_EFER, 0x500],
  [F.GUEST_DR7, 0x400],
  [F.GUEST_RIP, AT.guest],
  [F.GUEST_RSP, AT.guestStack],
  [F.GUEST_RFLAGS, 2],
  ...SEGMENTS.flatMap((n): [number, number][] => [
    [F.GUEST_ES_SELECTOR + 2 * n, n === 1 ? 8 : n === 6 ? 0 : 16],
    [F.GUEST_ES_LIMIT + 2 * n, n === 7 ? 0x67 : 0xffff_ffff],
    [F.GUEST_ES_ACCESS_RIGHTS + 2 * n, n === 1 ? 0xa09b : n === 6 ? 0x10000 : n === 7 ? 0x8b : 0xc093],
  ]),
  [F.HOST_CR0, 0x8000_0031n],
  [F.HOST_CR3, AT.tables],
  [F.HOST_CR4, 0x2020],
  [F.HOST_IA32_EFER, 0x500],
  [F.HOST_CS_SELECTOR, 8],
  [F.HOST_SS_SELECTOR, 16],
  [F.HOST_DS_SELECTOR, 16],
  [F.HOST_ES_SELECTOR, 16],
  [F.HOST_TR_SELECTOR, 24],
  [F.HOST_RIP, AT.handler],
  [F.HOST_RSP, AT.stack],
];

/** A hypervisor: VMXON, a VMCS with FIELDS and what `fields` changes, VMLAUNCH; a failure of it is at results[0] as RFLAGS, and ends it. */
export function hypervisor(fields: Readonly<Record<number, bigint | number>> = {}): Code {
  const all = new Map<number, bigint | number>(FIELDS);
  for (const [field, value] of Object.entries(fields)) all.set(Number(field), value);
  const code = enterVmx(new Code());
  for (const [field, value] of all) code.vmwrite(field, value);
  return code.vmlaunch().flags(AT.results).halt();
}

export interface Setting {
  /** Code of the hypervisor, of its guest, and what it does at an exit. */
  readonly code: Code;
  readonly guest?: Code;
  readonly handler?: Code;
  readonly options?: NestedVmxOptions;
  readonly plugins?: readonly Plugin[];
  /** Before the first instruction. */
  readonly prepare?: (vmm: Vmm, nested: NestedVmx) => void;
  /** Goes on with this one instead of starting. */
  readonly saved?: SavedVm;
}

/** Identity-mapped by pages of 2 MiB. */
function writeTables({ memory }: Vmm): void {
  memory.writeU64(AT.tables, BigInt(AT.tables + 0x1003));
  memory.writeU64(AT.tables + 0x1000, BigInt(AT.tables + 0x2003));
  for (let n = 0; n < 512; n++) memory.writeU64(AT.tables + 0x2000 + n * 8, BigInt(n * 2 ** 21) | 0x83n);
}

export async function machine(setting: Setting): Promise<{ vmm: Vmm; vcpu: Vcpu; nested: NestedVmx }> {
  let nested: NestedVmx | undefined, vcpu: Vcpu | undefined;
  const loader = definePlugin({
    name: 'test',
    uses: { nested: NestedVmxToken },
    apply(host, used) {
      nested = used.nested;
      vcpu = host.vcpus[0];
    },
  });
  const vmm = compose({
    backend: vmx(),
    memory: MEMORY,
    time: 'virtual',
    plugins: [loader, nestedVmx(setting.options), ...(setting.plugins ?? []), ...exits()],
  });
  await vmm.create();
  if (setting.saved !== undefined) {
    await vmm.restore(setting.saved);
    return { vmm, vcpu: vcpu!, nested: nested! };
  }
  await vmm.load();
  writeTables(vmm);
  const { memory } = vmm;
  const put = (at: number, code: Code | undefined): void => {
    if (code !== undefined) memory.write(at, Uint8Array.from(code.bytes));
  };
  put(AT.code, setting.code);
  put(AT.guest, setting.guest ?? new Code().vmcall());
  put(AT.handler, setting.handler ?? new Code().halt());
  memory.writeU32(AT.vmxon, REVISION);
  memory.writeU32(AT.vmcs, REVISION);
  memory.writeU64(VMX_POINTERS, BigInt(AT.vmxon));
  memory.writeU64(VMX_POINTERS + 8, BigInt(AT.vmcs));
  start(vcpu!);
  setting.prepare?.(vmm, nested!);
  return { vmm, vcpu: vcpu!, nested: nested! };
}

/** Bits 30:0 of IA32_VMX_BASIC. */
export const REVISION = 0x0056_4b31;

export function start(vcpu: Vcpu): void {
  vcpu.setInitialState({
    mode: 'long64',
    rip: BigInt(AT.code),
    rsp: BigInt(AT.stack),
    cr3: BigInt(AT.tables),
    segments: { tr: { selector: 24, base: 0n, limit: 0x67, accessRights: 0x8b } },
  });
}

/** Runs to the end. Results are 64-bit words from AT.results on. */
export async function run(
  setting: Setting,
): Promise<{ report: StopReport; result: (n: number) => bigint; vmm: Vmm; vcpu: Vcpu; nested: NestedVmx }> {
  const made = await machine(setting);
  const report = await made.vmm.run({ maxInstructions: 1_000_000 });
  return { ...made, report, result: (n) => made.vmm.memory.readU64(AT.results + n * 8) };
}

/** What the hypervisor reads at every exit: reason, qualification, RIP, GPA, interruption information, in results 1 to 5; then it ends. */
export function tell(): Code {
  return new Code()
    .vmread(F.EXIT_REASON, AT.results + 8)
    .vmread(F.EXIT_QUALIFICATION, AT.results + 16)
    .vmread(F.GUEST_RIP, AT.results + 24)
    .vmread(F.GUEST_PHYSICAL_ADDRESS, AT.results + 32)
    .vmread(F.EXIT_INTERRUPTION_INFO, AT.results + 40)
    .halt();
}

/** EPT tables of the hypervisor at AT.ept: identity by 4 KiB pages for the first 2 MiB, rights 7, and 2 MiB pages for the rest of memory. */
export function writeEpt(vmm: Vmm, flags = 7, at: number = AT.ept): void {
  const { memory } = vmm;
  memory.writeU64(at, BigInt(at + 0x1000) | 7n);
  memory.writeU64(at + 0x1000, BigInt(at + 0x2000) | 7n);
  memory.writeU64(at + 0x2000, BigInt(at + 0x3000) | 7n);
  for (let n = 1; n < 4; n++) memory.writeU64(at + 0x2000 + n * 8, BigInt(n * 2 ** 21) | BigInt(flags) | 0xb0n);
  for (let n = 0; n < 512; n++) memory.writeU64(at + 0x3000 + n * 8, BigInt(n * 4096) | BigInt(flags) | 0x30n);
}
/** Address of the entry for a page below 2 MiB. */
export const eptEntry = (gpa: number, at: number = AT.ept): number => at + 0x3000 + (gpa >>> 12) * 8;
export const EPTP = BigInt(AT.ept) | 0x1en;
/** Primary and secondary controls with EPT. */
export const WITH_EPT = {
  [F.PRIMARY_CONTROLS]: 0x8400_6172,
  [F.SECONDARY_CONTROLS]: 2,
  [F.EPT_POINTER]: EPTP,
} as const;

/** Hypercalls of the hypervisor itself. */
export function hypercalls(answer: (vcpu: Vcpu) => void): Plugin {
  return definePlugin({
    name: 'hypercalls',
    uses: { nested: NestedVmxToken },
    apply({ hooks }, { nested }) {
      hooks.exit.for('vmcall').tap({ stage: 50 }, (_exit, vcpu) => {
        if (nested.inGuest(vcpu)) return undefined;
        answer(vcpu);
        return RESUME;
      });
    },
  });
}
