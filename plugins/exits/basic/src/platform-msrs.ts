/**
 * MSRs of the platform that hold state and do nothing in a virtual machine: memory types, machine check, microcode
 * revision. Only those that the processor does not keep itself and that its CPUID promises are added.
 */
import type { Plugin } from '@visorkit/core';
import { definePlugin } from '@visorkit/core';
import { AddDeviceToken, CpuidTableToken, MsrBusToken } from '@visorkit/machine';
import type { Device, MsrDevice } from '@visorkit/machine';
import * as v from 'valibot';

/** One register: its value after reset, and which bits WRMSR may change (others must keep their value, else #GP). */
interface PlatformMsr {
  readonly index: number;
  readonly reset: bigint;
  readonly writable: bigint;
  /** A command: reading it is #GP(0), and nothing is kept. */
  readonly writeOnly?: boolean;
}

const ALL = (1n << 64n) - 1n;
/** Bits of CPUID.1:EDX. */
const MCE = 1 << 7;
const MTRR = 1 << 12;
const MCA = 1 << 14;
/** Bit of CPUID.7:EDX. */
const SPEC_CTRL = 1 << 26;
/** Bit of CPUID.7:ECX. */
const WAITPKG = 1 << 5;

const ALWAYS: readonly PlatformMsr[] = [
  { index: 0x17, reset: 0n, writable: 0n }, // IA32_PLATFORM_ID
  { index: 0x8b, reset: 1n << 32n, writable: ALL }, // IA32_BIOS_SIGN_ID: microcode revision 1
  { index: 0x1a0, reset: 0x4_1801n, writable: (1n << 0n) | (1n << 22n) | (1n << 34n) }, // IA32_MISC_ENABLE: fast strings, no BTS, no PEBS, MONITOR
  { index: 0x1d9, reset: 0n, writable: 0x3n }, // IA32_DEBUGCTL: LBR and BTF can be set, nothing records
];

/** A machine check without banks (SDM 3B, 16.3): the guest's code path exists, and finds nothing. */
const MACHINE_CHECK: readonly PlatformMsr[] = [
  { index: 0x179, reset: 0n, writable: 0n },
  { index: 0x17a, reset: 0n, writable: 0n },
];

/**
 * What every AMD processor has and its software uses without asking (AMD64 manual volume 2, appendix A): system configuration, hardware
 * configuration, four performance counters (which count nothing), virtualisation control (disabled and locked).
 */
const AMD: readonly PlatformMsr[] = [
  { index: 0xc001_0010, reset: 0n, writable: ALL },
  { index: 0xc001_0015, reset: 1n << 24n, writable: ALL },
  ...Array.from({ length: 8 }, (_, n) => ({
    index: 0xc001_0000 + n,
    reset: 0n,
    writable: n < 4 ? ALL : (1n << 48n) - 1n,
  })),
  { index: 0xc001_0114, reset: 0x18n, writable: 0n },
];
/** EBX of CPUID leaf 0 for AuthenticAMD. */
const AUTH = 0x6874_7541;

/** IA32_PRED_CMD (SDM 4, table 2-2): IBPB, for which there is nothing to flush. */
const SPECULATION: readonly PlatformMsr[] = [{ index: 0x49, reset: 0n, writable: 1n, writeOnly: true }];

/** IA32_UMWAIT_CONTROL (SDM 2B, UMWAIT): the longest wait, and whether the deeper state is off. Waits end at once anyway. */
const USER_WAIT: readonly PlatformMsr[] = [{ index: 0xe1, reset: 0n, writable: 0xffff_fffdn }];

/** Memory types (SDM 3A, 12.11): 8 variable ranges, fixed ranges, write-combining. After reset everything is uncacheable. */
function memoryTypes(physicalBits: number): PlatformMsr[] {
  const address = ((1n << BigInt(physicalBits)) - 1n) & ~0xfffn;
  const list: PlatformMsr[] = [
    { index: 0xfe, reset: 0x508n, writable: 0n },
    { index: 0x2ff, reset: 0n, writable: 0xcffn },
  ];
  for (let pair = 0; pair < 8; pair++) {
    list.push({ index: 0x200 + 2 * pair, reset: 0n, writable: address | 0xffn });
    list.push({ index: 0x201 + 2 * pair, reset: 0n, writable: address | 0x800n });
  }
  for (const index of [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f])
    list.push({ index, reset: 0n, writable: ALL });
  return list;
}

/** Holds the values, one set for each vCPU. State: by vCPU and index, as hexadecimal text. */
class PlatformMsrs implements MsrDevice, Device<Record<string, string>[]> {
  readonly name = 'platform-msrs';
  readonly schema = v.array(v.record(v.string(), v.string()));
  readonly #registers: Map<number, PlatformMsr>;
  readonly #values: Map<number, bigint>[];

  constructor(registers: readonly PlatformMsr[], cpus: number) {
    this.#registers = new Map(registers.map((register) => [register.index, register]));
    this.#values = Array.from({ length: cpus }, () => new Map<number, bigint>());
    this.reset();
  }

  readMsr(index: number, vcpu: number): bigint | undefined {
    return this.#registers.get(index)?.writeOnly ? undefined : this.#values[vcpu]?.get(index);
  }

  writeMsr(index: number, value: bigint, vcpu: number): boolean {
    const register = this.#registers.get(index);
    const old = this.#values[vcpu]?.get(index);
    if (register === undefined || old === undefined || ((old ^ value) & ~register.writable) !== 0n) return false;
    // Writing the microcode revision register is how software asks for it; the revision stays.
    if (index !== 0x8b && !register.writeOnly) this.#values[vcpu].set(index, value);
    return true;
  }

  reset(): void {
    for (const values of this.#values)
      for (const { index, reset } of this.#registers.values()) values.set(index, reset);
  }

  save(): Record<string, string>[] {
    return this.#values.map((values) =>
      Object.fromEntries([...values].map(([index, value]) => [index.toString(16), value.toString(16)])),
    );
  }

  restore(state: Record<string, string>[]): void {
    state.forEach((values, vcpu) => {
      for (const [index, value] of Object.entries(values))
        this.#values[vcpu]?.set(parseInt(index, 16), BigInt(`0x${value}`));
    });
  }
}

export function platformMsrs(): Plugin {
  return definePlugin({
    name: 'exits/platform-msrs',
    uses: { msrs: MsrBusToken, table: CpuidTableToken, addDevice: AddDeviceToken },
    apply({ vcpus }, { msrs, table, addDevice }) {
      const features = table.get(1)?.edx ?? 0;
      const physicalBits = (table.get(0x8000_0008)?.eax ?? 36) & 0xff;
      const wanted = [...ALWAYS];
      if (features & (MCE | MCA)) wanted.push(...MACHINE_CHECK);
      if (table.get(0)?.ebx === AUTH) wanted.push(...AMD);
      if ((table.get(7, 0)?.edx ?? 0) & SPEC_CTRL) wanted.push(...SPECULATION);
      if ((table.get(7, 0)?.ecx ?? 0) & WAITPKG) wanted.push(...USER_WAIT);
      if (features & MTRR) wanted.push(...memoryTypes(physicalBits));
      const missing = wanted.filter(({ index }) => !vcpus[0].hasMsr(index) && msrs.find(index) === undefined);
      const device = new PlatformMsrs(missing, vcpus.length);
      addDevice(device, { msrs: missing.map(({ index }) => [index, 1]) });
    },
  });
}
