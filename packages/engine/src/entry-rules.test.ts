/** Each check of VM entry, by a valid VMCS with the one change that breaks the rule. */
import { beforeEach, describe, expect, it } from 'vitest';
import { VmcsField as F, controlBits, interruptionInfo } from '@visorkit/x86';
import { Engine } from './engine.js';
import { ENTRY_RULES, describeEntryRule } from './entry-rules.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';
import { ENTER_VMFAIL, V_INSTRUCTION_ERROR } from './vmcs-layout.js';

const CODE = 0x10000;
const HLT = 12;
const UNALIGNED = 0x2600010n;
const BEYOND = 0x1_0000_0000n;
const NOT_CANONICAL = 0x4000_0000_0000_0000n;

let engine: Engine;
const add = (field: number, bits: number): void => engine.vmcs.write32(field, (engine.vmcs.read32(field) | bits) >>> 0);
const drop = (field: number, bits: number): void =>
  engine.vmcs.write32(field, (engine.vmcs.read32(field) & ~bits) >>> 0);
const write = (field: number, value: bigint): void => engine.vmcs.write64(field, value);
const primary = (...names: string[]): void => add(F.PRIMARY_CONTROLS, controlBits('primary', names));
const secondary = (...names: string[]): void => add(F.SECONDARY_CONTROLS, controlBits('secondary', names));
const withoutEpt = (): void => drop(F.SECONDARY_CONTROLS, 2);
const page = (): bigint => BigInt(engine.pages.allocatePage());
const rights = (field: number, value: number): void => engine.vmcs.write32(field, value);
const inject = (info: number, error = 0, length = 0): void => {
  engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, info);
  engine.vmcs.write32(F.ENTRY_EXCEPTION_ERROR_CODE, error);
  engine.vmcs.write32(F.ENTRY_INSTRUCTION_LENGTH, length);
};
const tprShadow = (): void => {
  primary('use-tpr-shadow');
  write(F.VIRTUAL_APIC_ADDRESS, page());
};
/** A guest in protected mode without paging of its own: needs "unrestricted guest". */
const legacy = (): void => {
  drop(F.ENTRY_CONTROLS, 1 << 9);
  engine.efer = 0n;
  rights(F.GUEST_CS_ACCESS_RIGHTS, 0xc09b);
};
const unrestricted = (): void => secondary('unrestricted-guest');
const virtual8086 = (): void => {
  legacy();
  engine.rflags = 0x20002;
  for (let n = 0; n < 6; n++)
    engine.setSegment(n, { selector: 0x100, base: 0x1000n, limit: 0xffff, accessRights: 0xf3 });
};

/** Rule number: the change to a valid VMCS that breaks it. */
const BROKEN: Readonly<Record<number, () => void>> = {
  1: () => drop(F.PIN_CONTROLS, 2),
  2: () => drop(F.PRIMARY_CONTROLS, 2),
  3: () => secondary('pasid-translation'),
  4: () => engine.vmcs.write32(F.CR3_TARGET_COUNT, 5),
  5: () => {
    primary('use-io-bitmaps');
    write(F.IO_BITMAP_A, page());
    write(F.IO_BITMAP_B, UNALIGNED);
  },
  6: () => {
    primary('use-msr-bitmaps');
    write(F.MSR_BITMAP, BEYOND);
  },
  7: () => {
    tprShadow();
    write(F.VIRTUAL_APIC_ADDRESS, UNALIGNED);
  },
  8: () => {
    tprShadow();
    engine.vmcs.write32(F.TPR_THRESHOLD, 0x10);
  },
  9: () => {
    tprShadow();
    engine.vmcs.write32(F.TPR_THRESHOLD, 1);
  },
  10: () => secondary('virtual-interrupt-delivery'),
  11: () => drop(F.PIN_CONTROLS, 8),
  12: () => {
    drop(F.PIN_CONTROLS, 0x28);
    add(F.PRIMARY_CONTROLS, 1 << 22);
    engine.vmcs.touch(1);
  },
  13: () => {
    secondary('virtualize-apic-accesses');
    write(F.APIC_ACCESS_ADDRESS, UNALIGNED);
  },
  14: () => {
    tprShadow();
    secondary('virtualize-apic-accesses', 'virtualize-x2apic-mode');
    write(F.APIC_ACCESS_ADDRESS, page());
  },
  15: () => {
    tprShadow();
    secondary('virtual-interrupt-delivery');
  },
  20: () => engine.vmcs.write32(F.VPID, 0),
  21: () => write(F.EPT_POINTER, engine.vmcs.read64(F.EPT_POINTER) | 0x80n),
  22: () => {
    secondary('enable-pml');
    withoutEpt();
  },
  23: () => {
    secondary('enable-pml');
    write(F.PML_ADDRESS, UNALIGNED);
  },
  24: () => {
    unrestricted();
    withoutEpt();
  },
  26: () => {
    secondary('enable-vm-functions');
    write(F.VM_FUNCTION_CONTROLS, 2n);
  },
  27: () => {
    secondary('enable-vm-functions');
    write(F.VM_FUNCTION_CONTROLS, 1n);
    withoutEpt();
  },
  28: () => {
    secondary('enable-vm-functions');
    write(F.VM_FUNCTION_CONTROLS, 1n);
    write(F.EPTP_LIST_ADDRESS, UNALIGNED);
  },
  30: () => {
    secondary('ept-violation-ve');
    withoutEpt();
  },
  31: () => {
    secondary('ept-violation-ve');
    write(F.VIRTUALIZATION_EXCEPTION_INFORMATION, UNALIGNED);
  },
  32: () => {
    primary('use-tsc-offsetting');
    secondary('use-tsc-scaling');
  },
  33: () => {
    secondary('sub-page-write-permissions');
    withoutEpt();
  },
  34: () => {
    secondary('sub-page-write-permissions');
    write(F.SUB_PAGE_PERMISSION_TABLE_POINTER, UNALIGNED);
  },
  40: () => drop(F.EXIT_CONTROLS, 1),
  41: () => add(F.EXIT_CONTROLS, 1 << 22),
  42: () => {
    engine.vmcs.write32(F.EXIT_MSR_STORE_COUNT, 1);
    write(F.EXIT_MSR_STORE_ADDRESS, 0x2600008n);
  },
  43: () => {
    engine.vmcs.write32(F.EXIT_MSR_LOAD_COUNT, 1);
    write(F.EXIT_MSR_LOAD_ADDRESS, BEYOND);
  },
  50: () => drop(F.ENTRY_CONTROLS, 1),
  51: () => {
    engine.vmcs.write32(F.ENTRY_MSR_LOAD_COUNT, 1);
    write(F.ENTRY_MSR_LOAD_ADDRESS, 0x2600008n);
  },
  52: () => add(F.ENTRY_CONTROLS, 0), // reserved by capability: see the list below
  60: () => inject(interruptionInfo(3, 1)),
  61: () => inject(interruptionInfo(3, 2)),
  62: () => inject(interruptionInfo(32, 3)),
  63: () => inject(interruptionInfo(1, 7)),
  64: () => inject(interruptionInfo(6, 3, true)),
  65: () => inject((interruptionInfo(6, 3) | 0x1000) >>> 0),
  66: () => inject(interruptionInfo(13, 3, true), 0x10000),
  67: () => inject(interruptionInfo(3, 6), 0, 16),
  70: () => write(F.HOST_CR0, 0x33n),
  71: () => write(F.HOST_CR4, 0x20n | (1n << 40n)),
  72: () => write(F.HOST_CR3, 1n << 46n),
  73: () => write(F.HOST_SYSENTER_ESP, NOT_CANONICAL),
  74: () => {
    add(F.EXIT_CONTROLS, 1 << 12);
    write(F.HOST_IA32_PERF_GLOBAL_CTRL, 1n);
  },
  75: () => write(F.HOST_IA32_PAT, 2n),
  76: () => write(F.HOST_IA32_EFER, 0x502n),
  77: () => write(F.HOST_IA32_EFER, 0x100n),
  78: () => engine.vmcs.write32(F.HOST_DS_SELECTOR, 3),
  79: () => engine.vmcs.write32(F.HOST_TR_SELECTOR, 0),
  80: () => {
    drop(F.EXIT_CONTROLS, 1 << 9);
    write(F.HOST_IA32_EFER, 0n);
  },
  81: () => write(F.HOST_GDTR_BASE, NOT_CANONICAL),
  82: () => write(F.HOST_CR4, 0n),
  83: () => write(F.HOST_RIP, NOT_CANONICAL),
  84: () => {
    drop(F.EXIT_CONTROLS, 1 << 9);
    write(F.HOST_IA32_EFER, 0n);
    engine.vmcs.write32(F.HOST_SS_SELECTOR, 0x18);
  },
  85: () => {
    drop(F.EXIT_CONTROLS, 1 << 9);
    write(F.HOST_IA32_EFER, 0n);
    engine.vmcs.write32(F.HOST_SS_SELECTOR, 0x18);
    drop(F.ENTRY_CONTROLS, 1 << 9);
    write(F.HOST_CR4, 1n << 17n);
  },
  86: () => {
    drop(F.EXIT_CONTROLS, 1 << 9);
    write(F.HOST_IA32_EFER, 0n);
    engine.vmcs.write32(F.HOST_SS_SELECTOR, 0x18);
    drop(F.ENTRY_CONTROLS, 1 << 9);
    write(F.HOST_RIP, BEYOND);
  },
  100: () => {
    engine.cr0 = 0x31n;
  },
  101: () => {
    unrestricted();
    engine.cr0 = 0x8000_0030n;
  },
  102: () => {
    engine.cr4 = 0x20n | (1n << 19n);
  },
  103: () => write(F.GUEST_IA32_DEBUGCTL, 4n),
  104: () => {
    engine.cr4 = 0n;
  },
  105: () => {
    legacy();
    engine.cr4 = 1n << 17n;
  },
  106: () => {
    engine.cr3 = 1n << 46n;
  },
  107: () => write(F.GUEST_DR7, BEYOND),
  108: () => write(F.GUEST_SYSENTER_EIP, NOT_CANONICAL),
  109: () => {
    add(F.ENTRY_CONTROLS, 1 << 13);
    write(F.GUEST_IA32_PERF_GLOBAL_CTRL, 1n);
  },
  110: () => write(F.GUEST_IA32_PAT, 3n),
  111: () => {
    engine.efer = 0x502n;
  },
  112: () => {
    engine.efer = 0x100n;
  },
  113: () => {
    engine.efer = 0x400n;
  },
  120: () => {
    virtual8086();
    write(F.GUEST_DS_BASE, 0n);
  },
  121: () => {
    virtual8086();
    rights(F.GUEST_ES_LIMIT, 0xfffff);
  },
  122: () => {
    virtual8086();
    rights(F.GUEST_SS_ACCESS_RIGHTS, 0x93);
  },
  123: () => rights(F.GUEST_SS_SELECTOR, 0x13),
  124: () => write(F.GUEST_CS_BASE, BEYOND),
  125: () => write(F.GUEST_DS_BASE, BEYOND),
  126: () => write(F.GUEST_FS_BASE, NOT_CANONICAL),
  130: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa093),
  131: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa08b),
  132: () => {
    unrestricted();
    legacy();
    rights(F.GUEST_CS_ACCESS_RIGHTS, 0xc0f3);
  },
  133: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa0fb),
  134: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa0ff),
  135: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa01b),
  136: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa19b),
  137: () => rights(F.GUEST_CS_ACCESS_RIGHTS, 0xe09b),
  138: () => rights(F.GUEST_CS_LIMIT, 0xffff_fffe),
  140: () => rights(F.GUEST_SS_ACCESS_RIGHTS, 0xc091),
  141: () => rights(F.GUEST_SS_ACCESS_RIGHTS, 0xc083),
  142: () => rights(F.GUEST_SS_ACCESS_RIGHTS, 0xc013),
  143: () => rights(F.GUEST_SS_ACCESS_RIGHTS, 0xc193),
  144: () => rights(F.GUEST_SS_ACCESS_RIGHTS, 0x4093),
  145: () => {
    rights(F.GUEST_SS_SELECTOR, 0x13);
    rights(F.GUEST_CS_SELECTOR, 0x0b);
  },
  146: () => {
    unrestricted();
    legacy();
    rights(F.GUEST_CS_ACCESS_RIGHTS, 0xc093);
    rights(F.GUEST_SS_ACCESS_RIGHTS, 0xc0f3);
  },
  150: () => rights(F.GUEST_DS_ACCESS_RIGHTS, 0xc092),
  151: () => rights(F.GUEST_ES_ACCESS_RIGHTS, 0xc099),
  152: () => rights(F.GUEST_FS_ACCESS_RIGHTS, 0xc083),
  153: () => rights(F.GUEST_GS_SELECTOR, 0x13),
  154: () => rights(F.GUEST_DS_ACCESS_RIGHTS, 0xc013),
  155: () => rights(F.GUEST_DS_ACCESS_RIGHTS, 0xc893),
  156: () => rights(F.GUEST_DS_ACCESS_RIGHTS, 0x4093),
  160: () => rights(F.GUEST_TR_SELECTOR, 0x24),
  161: () => write(F.GUEST_TR_BASE, NOT_CANONICAL),
  162: () => rights(F.GUEST_TR_ACCESS_RIGHTS, 0x89),
  163: () => rights(F.GUEST_TR_ACCESS_RIGHTS, 0x1008b),
  164: () => rights(F.GUEST_TR_ACCESS_RIGHTS, 0x808b),
  165: () => {
    rights(F.GUEST_LDTR_ACCESS_RIGHTS, 0x82);
    rights(F.GUEST_LDTR_SELECTOR, 4);
  },
  166: () => {
    rights(F.GUEST_LDTR_ACCESS_RIGHTS, 0x82);
    write(F.GUEST_LDTR_BASE, NOT_CANONICAL);
  },
  167: () => rights(F.GUEST_LDTR_ACCESS_RIGHTS, 0x83),
  168: () => rights(F.GUEST_LDTR_ACCESS_RIGHTS, 0x02),
  169: () => rights(F.GUEST_LDTR_ACCESS_RIGHTS, 0x8082),
  170: () => write(F.GUEST_IDTR_BASE, NOT_CANONICAL),
  171: () => rights(F.GUEST_GDTR_LIMIT, 0x10000),
  172: () => {
    engine.rip = 1n << 60n;
  },
  173: () => {
    legacy();
    engine.rip = BEYOND;
  },
  175: () => {
    engine.rflags = 0x20002;
    virtual8086();
    add(F.ENTRY_CONTROLS, 1 << 9);
    engine.efer = 0x500n;
  },
  180: () => rights(F.GUEST_ACTIVITY, 4),
  181: () => {
    for (const n of [1, 2]) rights(F.GUEST_ES_SELECTOR + n * 2, 0x13);
    rights(F.GUEST_CS_ACCESS_RIGHTS, 0xa0fb);
    rights(F.GUEST_SS_ACCESS_RIGHTS, 0xc0f3);
    rights(F.GUEST_ACTIVITY, 1);
  },
  182: () => {
    engine.rflags = 0x202;
    rights(F.GUEST_ACTIVITY, 1);
    rights(F.GUEST_INTERRUPTIBILITY, 1);
  },
  183: () => rights(F.GUEST_INTERRUPTIBILITY, 0x20),
  184: () => {
    engine.rflags = 0x202;
    rights(F.GUEST_INTERRUPTIBILITY, 3);
  },
  185: () => rights(F.GUEST_INTERRUPTIBILITY, 1),
  186: () => rights(F.GUEST_INTERRUPTIBILITY, 4),
  187: () => write(F.GUEST_PENDING_DEBUG, 0x10n),
  189: () => {
    engine.rflags = 0x302;
    rights(F.GUEST_INTERRUPTIBILITY, 2);
  },
  190: () => write(F.VMCS_LINK_POINTER, UNALIGNED),
  191: () => write(F.VMCS_LINK_POINTER, page()),
  192: () => {
    const region = engine.pages.allocatePage();
    engine.words[region >>> 2] = engine.words[0x3000 >>> 2];
    engine.words[(0x3000 + 16) >>> 2] = region; // as if this VMCS had been loaded from there
    write(F.VMCS_LINK_POINTER, BigInt(region));
  },
  195: () => {
    legacy();
    engine.longs[0x1280 >>> 3] = 0x3n;
  },
  200: () => inject(interruptionInfo(0x20, 0)),
  201: () => {
    engine.rflags = 0x202;
    rights(F.GUEST_INTERRUPTIBILITY, 2);
    inject(interruptionInfo(0x20, 0));
  },
  202: () => {
    rights(F.GUEST_INTERRUPTIBILITY, 2);
    inject(interruptionInfo(2, 2));
  },
  203: () => {
    rights(F.GUEST_INTERRUPTIBILITY, 8);
    inject(interruptionInfo(2, 2));
  },
  204: () => {
    rights(F.GUEST_ACTIVITY, 1);
    inject(interruptionInfo(6, 3));
  },
  205: () => {
    engine.rflags = 0x202;
    rights(F.GUEST_ACTIVITY, 2);
    inject(interruptionInfo(0x20, 0));
  },
  206: () => {
    rights(F.GUEST_ACTIVITY, 3);
    inject(interruptionInfo(2, 2));
  },
};

/** Controls this processor does not have, so that an earlier rule refuses them; and RFLAGS bits that cannot be stored. */
const OUT_OF_REACH = new Set([16, 17, 18, 19, 25, 29, 52, 174]);

beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 1 << 20 });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.memory.writeU8(CODE, 0xf4);
  engine.rip = BigInt(CODE);
});

describe('checks of VM entry', () => {
  it('passes a valid VMCS', () => {
    expect(engine.enter()).toBe(HLT);
    expect(engine.failedRule).toBe(0);
  });

  it('has a broken VMCS for every rule that can be reached', () => {
    const missing = [...ENTRY_RULES.keys()].filter((rule) => !OUT_OF_REACH.has(rule) && BROKEN[rule] === undefined);
    expect(missing).toEqual([]);
  });

  it.each(
    Object.keys(BROKEN)
      .map(Number)
      .filter((rule) => !OUT_OF_REACH.has(rule))
      .map((rule) => [rule, describeEntryRule(rule)] as const),
  )('%i: %s', (rule) => {
    BROKEN[rule]();
    const result = engine.enter();
    expect(engine.failedRule).toBe(rule);
    if (rule < 100) {
      // 27.2: the entry fails as an instruction, error 7 for controls, 8 for host state
      expect(result).toBe(ENTER_VMFAIL);
      expect(engine.words[V_INSTRUCTION_ERROR >>> 2]).toBe(rule < 70 ? 7 : 8);
    } else {
      // 27.8: an exit with reason 33 and bit 31, and the qualification
      expect(result).toBe(0x8000_0021);
      expect(engine.vmcs.read32(F.EXIT_REASON)).toBe(0x8000_0021);
      expect(engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(
        rule === 195 ? 2 : rule === 202 ? 3 : rule >= 190 && rule <= 192 ? 4 : 0,
      );
    }
    expect(engine.retired).toBe(0);
  });
});
