/** Introspection of a VM's own guest, as services. */
import { GuestMemoryToken, Segment, definePlugin, token } from '@visorkit/core';
import type { Plugin, Token, Vcpu } from '@visorkit/core';
import { Msr } from '@visorkit/x86';
import { GENERAL_REGISTERS, SEGMENTS } from './dumps/format.js';
import type { DumpCpu } from './dumps/format.js';
import { LiveMemory } from './live-memory.js';
import type { KnownOfGuest, KnownRegisters, OsProfile } from './profile.js';
import { Vmi } from './vmi.js';

/** The kernels that are looked for. A plugin with a profile adds it in `apply`. */
export interface OsProfiles {
  readonly list: readonly OsProfile[];
  /** Returns the function that takes it back. */
  add(profile: OsProfile): () => void;
}

export const OsProfilesToken: Token<OsProfiles> = token('os-profiles', '@visorkit/vmi');
/** The guest of this VM. What it answers is of the moment: what it keeps is dropped when the guest has run, or a device has written. */
export const VmiToken: Token<Vmi> = token('vmi', '@visorkit/vmi');

/** Gives the VM {@link VmiToken} and {@link OsProfilesToken}. `known`: what is known of its guest beforehand. The guest does not notice. */
export function introspection(known: KnownOfGuest = {}): Plugin {
  return definePlugin({
    name: 'introspection',
    uses: { memory: GuestMemoryToken, profiles: OsProfilesToken },
    provides: [
      { token: OsProfilesToken, make: () => new ProfileList() },
      {
        token: VmiToken,
        make: ({ memory, profiles }, host) => {
          const live = new LiveMemory(memory);
          host.hooks.beforeEntry.tap(() => live.advance());
          memory.onWrite(() => live.advance());
          const registers = (): KnownRegisters => ({ ...registersOf(host.vcpus[0]), ...known.registers });
          return new Vmi(live, {
            profiles: profiles.list,
            known: () => ({ ...known, registers: registers() }),
          });
        },
      },
    ],
  });
}

/** What a profile can make use of. */
export function registersOf(vcpu: Vcpu): KnownRegisters {
  const msr = (index: number): bigint | undefined => (vcpu.hasMsr(index) ? vcpu.readMsr(index) : undefined);
  return {
    cr0: vcpu.getControlRegister(0),
    cr3: vcpu.getControlRegister(3),
    cr4: vcpu.getControlRegister(4),
    efer: vcpu.efer,
    gsBase: msr(Msr.IA32_GS_BASE),
    kernelGsBase: msr(Msr.IA32_KERNEL_GS_BASE),
    fsBase: msr(Msr.IA32_FS_BASE),
    idtr: vcpu.idtr.base,
    lstar: msr(Msr.IA32_LSTAR),
    cstar: msr(Msr.IA32_CSTAR),
  };
}

/** Registers as a dump has them. */
export function dumpCpuOf(vcpu: Vcpu): DumpCpu {
  const { gsBase, kernelGsBase } = registersOf(vcpu);
  const general = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, vcpu[name]]));
  const segments = SEGMENTS.map((name) => [name, vcpu.getSegment(Segment[name.toUpperCase() as 'CS'])] as const);
  const selectors = Object.fromEntries(segments.map(([name, { selector }]) => [name, BigInt(selector)]));
  return {
    ...general,
    ...selectors,
    ...Object.fromEntries([0, 2, 3, 4].map((index) => [`cr${index}`, vcpu.getControlRegister(index)])),
    fsBase: vcpu.getSegment(Segment.FS).base,
    gsBase: gsBase ?? vcpu.getSegment(Segment.GS).base,
    kernelGsBase: kernelGsBase ?? 0n,
    gdtBase: vcpu.gdtr.base,
    idtBase: vcpu.idtr.base,
    ldtBase: vcpu.getSegment(Segment.LDTR).base,
    trBase: vcpu.getSegment(Segment.TR).base,
  };
}

class ProfileList implements OsProfiles {
  readonly list: OsProfile[] = [];

  add(profile: OsProfile): () => void {
    this.list.push(profile);
    return () => {
      const index = this.list.indexOf(profile);
      if (index >= 0) this.list.splice(index, 1);
    };
  }
}
