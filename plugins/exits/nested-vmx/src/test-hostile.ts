/**
 * A hypervisor that means ill, or knows nothing: random fields of its VMCS, written past every check, and an entry with them. Whatever comes of it must be
 * one of the outcomes that the architecture has, and the machine must go on.
 */
import { RESUME, definePlugin, pause } from '@visorkit/core';
import type { Plugin, Vcpu } from '@visorkit/core';
import { VMCS_FIELDS, VmcsField as F } from '@visorkit/x86';
import { NestedVmxToken } from './index.js';
import { AT, Code, FIELDS, MEMORY, REVISION, enterVmx, machine, writeEpt } from './test-hypervisor.js';

/** xorshift32: the same seed gives the same cases. */
export function randomNumbers(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

/** What an entry came to. */
export interface Outcomes {
  cases: number;
  /** VMfail by error. */
  fails: Record<number, number>;
  /** Exits by reason, failed entries with bit 31. */
  exits: Record<number, number>;
  /** The hypervisor itself went astray: its host state led nowhere. */
  lost: number;
}

/** Fields without which the hypervisor would not come back. */
const KEPT = new Set<number>([F.HOST_RIP, F.HOST_RSP, F.HOST_CR3, F.EXIT_MSR_STORE_COUNT, F.EXIT_MSR_LOAD_COUNT]);

/** Values that fields like to be wrong with. */
function value(random: () => number): bigint {
  const shift = BigInt(random() % 64);
  switch (random() % 8) {
    case 0:
      return 0n;
    case 1:
      return (1n << 64n) - 1n;
    case 2:
      return 1n << shift;
    case 3:
      return BigInt(random() % MEMORY) & ~0xfffn;
    case 4:
      return 0xfee0_0000n;
    case 5:
      return BigInt(random()) << shift;
    case 6:
      return (1n << 47n) + BigInt(random() % 8);
    default:
      return BigInt(random() % 256);
  }
}

const INSTRUCTIONS = 3000;

/** Runs so many cases. Throws when the machine does what it never may. */
export async function hostileCases(seed: number, cases: number): Promise<Outcomes> {
  const random = randomNumbers(seed);
  const outcomes: Outcomes = { cases: 0, fails: {}, exits: {}, lost: 0 };
  const add = (counts: Record<number, number>, key: number): void => void (counts[key] = (counts[key] ?? 0) + 1);
  let ended = false;
  let write: (vcpu: Vcpu) => void = () => {};
  const driver: Plugin = definePlugin({
    name: 'hostile',
    uses: { nested: NestedVmxToken },
    apply({ hooks }, { nested }) {
      hooks.exit.for('vmcall').tap({ stage: 50 }, (_exit, vcpu) => {
        if (nested.inGuest(vcpu)) return undefined;
        // RBX: 0 before an entry, 1 behind a VMLAUNCH that failed, 2 at an exit
        if (vcpu.rbx === 0n) write(vcpu);
        else {
          const failed = vcpu.rbx === 1n;
          if (failed && (vcpu.rflags & 0x41n) === 0n) throw new Error('VMLAUNCH went on without a failure');
          add(
            failed ? outcomes.fails : outcomes.exits,
            Number(nested.read(vcpu, failed ? F.VM_INSTRUCTION_ERROR : F.EXIT_REASON)),
          );
          ended = true;
          return pause('a case is over');
        }
        return RESUME;
      });
    },
  });
  const again = (after: Code): Code => after.mov(0, AT.code + AGAIN).add(0xff, 0xe0); // JMP RAX
  const code = again(enterVmx(new Code()).mov(3, 0).vmcall().vmlaunch().mov(3, 1).vmcall());
  const setting = { code, handler: again(new Code().mov(3, 2).vmcall()), plugins: [driver] };
  while (outcomes.cases < cases) {
    const { vmm } = await machine(setting);
    const { memory } = vmm;
    write = () => {
      // in its memory, where its VMCS is: 8-byte slots of the groups of fields
      const put = (field: number, to: bigint): void => memory.writeU64(AT.vmcs + slot(field), to);
      for (const [field, good] of FIELDS) put(field, BigInt(good));
      put(F.EPT_POINTER, BigInt(AT.ept) | 0x1en);
      if (random() % 2 === 0) put(F.PRIMARY_CONTROLS, 0x8400_6172n);
      for (let n = random() % 6; n >= 0; n--) {
        const { encoding } = VMCS_FIELDS[random() % VMCS_FIELDS.length];
        if (!KEPT.has(encoding)) put(encoding, value(random));
      }
      if (random() % 4 === 0) put(F.SECONDARY_CONTROLS, BigInt(random()) & 0xc6d7_7fffn);
      if (random() % 8 === 0) put(F.ENTRY_MSR_LOAD_COUNT, BigInt(random() % 4));
      for (let n = random() % 3; n > 0; n--) memory.writeU64(AT.ept + ((random() % 0x4000) & ~7), value(random));
    };
    // until the hypervisor is lost
    while (outcomes.cases < cases) {
      outcomes.cases++;
      memory.writeU32(AT.vmcs, REVISION);
      memory.writeU32(AT.vmcs + 8, 0);
      writeEpt(vmm);
      ended = false;
      const report = await vmm.run({ maxInstructions: INSTRUCTIONS });
      if (report.reason === 'plugin-error') throw new Error(report.why);
      if (ended) continue;
      outcomes.lost++;
      break;
    }
    await vmm.dispose();
  }
  return outcomes;
}

/** Behind VMXON: where a hypervisor begins that is in VMX operation already. */
const AGAIN = enterVmx(new Code()).bytes.length;

/** Offset of a field in a region (the README has the layout). */
function slot(encoding: number): number {
  const groups = [
    [0x100, 0, 0x180, 0x200],
    [0x240, 0x3c0, 0x400, 0x500],
    [0x580, 0x640, 0x680, 0x740],
    [0x780, 0x800, 0x840, 0x940],
  ];
  return groups[(encoding >>> 13) & 3][(encoding >>> 10) & 3] + ((encoding >>> 1) & 0x1ff) * 8;
}
