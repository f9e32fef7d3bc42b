/**
 * Every basic exit reason from 0 to 75: how it is provoked on the software processor, or why it cannot be. `how` and `qualification` are those of the table in
 * docs/exits.md. The guest is in 64-bit mode at CPL 0, the first GiB mapped onto itself; its IDT leads to HLTs.
 */
import { Engine } from '@visorkit/engine';
import { writeHaltingHandlers, writeIdentityTables, writeValidVmcs } from '@visorkit/engine/testing';
import * as layout from '@visorkit/engine/layout';
import { EptRights, VmcsField as F, controlBits, eptPointer } from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';

export const CODE = 0x10000;
const HANDLER = 0x18000;
const IDT = 0x20000;
const GDT = 0x21000;
const STACK = 0x30000;
const DATA = 0x40000;
const HLT = 0xf4;

/** A processor with a guest that is ready to run. */
export class Guest {
  private constructor(
    readonly engine: Engine,
    readonly ept: EptBuilder,
  ) {}

  static async create(): Promise<Guest> {
    const engine = await Engine.create({ memoryBytes: 4 << 20 });
    writeIdentityTables(engine);
    const guest = new Guest(engine, writeValidVmcs(engine));
    writeHaltingHandlers(engine, { gdt: GDT, idt: IDT, handler: HANDLER, gates: 32 });
    engine.setRegister(4, BigInt(STACK));
    engine.setRegister(6, BigInt(DATA));
    guest.field(F.EXCEPTION_BITMAP, 1 << 6); // #UD exits
    return guest;
  }

  code(...bytes: number[]): this {
    this.engine.memory.write(CODE, Uint8Array.from([...bytes, HLT]));
    this.engine.rip = BigInt(CODE);
    return this;
  }
  field(field: number, value: number | bigint): this {
    this.engine.vmcs.write64(field, BigInt(value));
    return this;
  }
  #add(field: number, bits: number): this {
    return this.field(field, (this.engine.vmcs.read32(field) | bits) >>> 0);
  }
  pin(...names: string[]): this {
    return this.#add(F.PIN_CONTROLS, controlBits('pin', names));
  }
  primary(...names: string[]): this {
    return this.#add(F.PRIMARY_CONTROLS, controlBits('primary', names));
  }
  secondary(...names: string[]): this {
    return this.#add(F.SECONDARY_CONTROLS, controlBits('secondary', names));
  }
  register(index: number, value: number | bigint): this {
    this.engine.setRegister(index, BigInt(value));
    return this;
  }
  /** A page of the hypervisor's, as its address. */
  page(): number {
    return this.engine.pages.allocatePage();
  }
  /** A field that points to a page of zeroes; the page. */
  pageOf(field: number): number {
    const page = this.page();
    this.field(field, page);
    return page;
  }
  cr4(bits: number): this {
    this.engine.cr4 |= BigInt(bits);
    return this;
  }
  /** Address of the level 1 entry of DATA's page. */
  leaf(): number {
    let table = this.ept.root;
    for (let level = 4; level > 1; level--)
      table = (this.engine.words[(table >>> 2) + (Math.floor(DATA / 2 ** (3 + 9 * level)) % 512) * 2] & ~0xfff) >>> 0;
    return table + ((DATA >>> 12) & 511) * 8;
  }
}

export interface Provoked {
  readonly how: string;
  /** What the exit qualification is. */
  readonly qualification: string;
  provoke(guest: Guest): void;
  /** The value of the qualification here. */
  readonly value?: number;
  /** What the instruction information is, unless another test looks at it. */
  readonly information?: number;
  /** RIP from CODE on, when it is behind the instruction; 0 unless given. */
  readonly behind?: number;
}

export interface Refused {
  /** Why there is no such exit. */
  readonly how: string;
  readonly qualification: '';
  /** An instruction that raises #UD, where one would give the exit. */
  readonly undefined?: readonly number[];
}

const memory = [0x06]; // ModRM: [RSI]
const instruction = (how: string, ...bytes: number[]): Provoked => ({
  how,
  qualification: '0',
  provoke: (guest) => void guest.code(...bytes),
  value: 0,
});
const withPrimary = (how: string, control: string, ...bytes: number[]): Provoked => ({
  how,
  qualification: '0',
  provoke: (guest) => void guest.code(...bytes).primary(control),
  value: 0,
});
const displaced = (how: string, ...bytes: number[]): Provoked => ({
  how,
  qualification: 'displacement of the operand',
  provoke: (guest) => void guest.cr4(1 << 13).code(...bytes, 0x10), // [RSI + 10H]
  value: 0x10,
});
const none = (how: string, ...bytes: number[]): Refused => ({
  how,
  qualification: '',
  ...(bytes.length === 0 ? {} : { undefined: bytes }),
});
const unused: Refused = none('not in use');

export const EXIT_CASES: readonly (Provoked | Refused)[] = [
  /* 0 */ {
    how: 'an exception of the exception bitmap, or an NMI',
    qualification: '#DB: DR6 bits; #PF: linear address; else 0',
    provoke: (guest) => void guest.code(0x0f, 0x0b),
    value: 0,
  },
  /* 1 */ none('none: interrupts of the machine come from its own controllers, and are injected'),
  /* 2 */ {
    how: 'an exception while #DF is delivered',
    qualification: '0',
    provoke(guest) {
      guest.field(F.EXCEPTION_BITMAP, 0).code(0x0f, 0x0b);
      guest.engine.idtr = { base: 0n, limit: 0 };
    },
    value: 0,
  },
  /* 3 */ none('none: INIT goes to the vCPU directly, which is reset'),
  /* 4 */ none('none: start-up IPIs go to the vCPU directly, which starts'),
  /* 5 */ none('none: there is no system-management mode'),
  /* 6 */ none('none: there is no system-management mode'),
  /* 7 */ {
    how: 'interrupt-window exiting, as soon as an interrupt could be taken',
    qualification: '0',
    provoke(guest) {
      guest.code(0x90).primary('interrupt-window-exiting');
      guest.engine.rflags = 0x202;
    },
    value: 0,
  },
  /* 8 */ {
    how: 'NMI-window exiting, as soon as an NMI could be taken',
    qualification: '0',
    provoke: (guest) => void guest.code(0x90).primary('nmi-window-exiting'),
    value: 0,
  },
  /* 9 */ {
    how: 'CALL, JMP, IRET or an interrupt through a task gate, to a TSS',
    qualification: '15:0 selector of the TSS, 31:30 CALL, IRET, JMP, gate',
    provoke(guest) {
      const { engine } = guest;
      engine.memory.writeU64(GDT + 0x28, 0x0000890050000067n); // an available TSS
      guest.field(F.ENTRY_CONTROLS, engine.vmcs.read32(F.ENTRY_CONTROLS) & ~(1 << 9));
      guest.secondary('unrestricted-guest');
      engine.efer = 0n;
      engine.cr0 = 0x31n;
      engine.setSegment(1, { selector: 8, base: 0n, limit: 0xffff_ffff, accessRights: 0xc09b });
      guest.code(0xea, 0, 0, 0, 0, 0x28, 0); // JMP 28H:0
    },
    value: 0x8000_0028,
  },
  /* 10 */ instruction('CPUID', 0x0f, 0xa2),
  /* 11 */ none('none: CR4.SMXE cannot be set, GETSEC raises #UD', 0x0f, 0x37),
  /* 12 */ withPrimary('HLT, with HLT exiting', 'hlt-exiting', HLT),
  /* 13 */ instruction('INVD', 0x0f, 0x08),
  /* 14 */ {
    how: 'INVLPG, with INVLPG exiting',
    qualification: 'linear address of the operand',
    provoke: (guest) => void guest.code(0x0f, 0x01, 0x3e).primary('invlpg-exiting'),
    value: DATA,
  },
  /* 15 */ withPrimary('RDPMC, with RDPMC exiting', 'rdpmc-exiting', 0x0f, 0x33),
  /* 16 */ withPrimary('RDTSC, with RDTSC exiting', 'rdtsc-exiting', 0x0f, 0x31),
  /* 17 */ none('none: RSM outside system-management mode raises #UD', 0x0f, 0xaa),
  /* 18 */ instruction('VMCALL', 0x0f, 0x01, 0xc1),
  /* 19 */ displaced('VMCLEAR', 0x66, 0x0f, 0xc7, 0x76),
  /* 20 */ instruction('VMLAUNCH', 0x0f, 0x01, 0xc2),
  /* 21 */ displaced('VMPTRLD', 0x0f, 0xc7, 0x76),
  /* 22 */ displaced('VMPTRST', 0x0f, 0xc7, 0x7e),
  /* 23 */ displaced('VMREAD, unless VMCS shadowing lets it through', 0x0f, 0x78, 0x46),
  /* 24 */ instruction('VMRESUME', 0x0f, 0x01, 0xc3),
  /* 25 */ displaced('VMWRITE, unless VMCS shadowing lets it through', 0x0f, 0x79, 0x46),
  /* 26 */ instruction('VMXOFF', 0x0f, 0x01, 0xc4),
  /* 27 */ displaced('VMXON with CR4.VMXE; without it #UD', 0xf3, 0x0f, 0xc7, 0x76),
  /* 28 */ {
    how: 'MOV to or from CR3 and CR8, and to CR0 and CR4, by their controls, masks and shadows; CLTS; LMSW',
    qualification: '3:0 register, 5:4 kind of access, 11:8 general register, LMSW: 6 and 31:16',
    provoke: (guest) => void guest.code(0x0f, 0x22, 0xd9).primary('cr3-load-exiting'), // MOV CR3, RCX
    value: 0x103,
  },
  /* 29 */ {
    how: 'MOV DR, with MOV-DR exiting',
    qualification: '2:0 register, 4 from it, 11:8 general register',
    provoke: (guest) => void guest.code(0x0f, 0x21, 0xfa).primary('mov-dr-exiting'), // MOV RDX, DR7
    value: 0x217,
  },
  /* 30 */ {
    how: 'IN, OUT, INS, OUTS, by the I/O bitmaps or unconditional-I/O exiting',
    qualification: '2:0 bytes less 1, 3 IN, 4 string, 5 REP, 6 immediate, 31:16 port',
    provoke: (guest) => void guest.code(0xe4, 0x71), // IN AL, 71H
    value: 0x71_0048,
  },
  /* 31 */ {
    ...instruction('RDMSR, by the MSR bitmap; always without one and for MSRs that it does not have', 0x0f, 0x32),
  },
  /* 32 */ instruction('WRMSR, by the MSR bitmap; always without one and for MSRs that it does not have', 0x0f, 0x30),
  /* 33 */ {
    how: 'an entry with guest state that is not valid',
    qualification: '2 PDPTEs, 3 NMI and blocking, 4 link pointer, else 0',
    provoke: (guest) => void guest.code(0x90).field(F.GUEST_ACTIVITY, 5),
    value: 0,
  },
  /* 34 */ {
    how: 'an entry with an MSR in its load area that cannot be loaded',
    qualification: 'its place in the area, from 1',
    provoke(guest) {
      const area = guest.pageOf(F.ENTRY_MSR_LOAD_ADDRESS);
      guest.engine.words[area >>> 2] = 0xc000_0100; // FS.base has a field
      guest.field(F.ENTRY_MSR_LOAD_COUNT, 1).code(0x90);
    },
    value: 1,
  },
  /* 35 */ unused,
  /* 36 */ {
    how: 'MWAIT, with MWAIT exiting',
    qualification: '0: MONITOR has been executed',
    provoke: (guest) => void guest.code(0x0f, 0x01, 0xc9).primary('mwait-exiting'),
    value: 0,
  },
  /* 37 */ {
    how: 'the monitor trap flag, after each instruction, or injected',
    qualification: '0',
    provoke: (guest) => void guest.code(0x90).primary('monitor-trap-flag'),
    value: 0,
    behind: 1,
  },
  /* 38 */ unused,
  /* 39 */ withPrimary('MONITOR, with MONITOR exiting', 'monitor-exiting', 0x0f, 0x01, 0xc8),
  /* 40 */ {
    how: 'PAUSE, with PAUSE exiting; in a loop, with PAUSE-loop exiting',
    qualification: '0',
    provoke(guest) {
      guest.field(F.PLE_GAP, 100).field(F.PLE_WINDOW, 1000);
      guest.secondary('pause-loop-exiting').code(0xf3, 0x90, 0xeb, 0xfc); // PAUSE; JMP back
    },
    value: 0,
  },
  /* 41 */ none('none: there are no machine checks'),
  /* 42 */ unused,
  /* 43 */ {
    how: 'a TPR below its threshold, with TPR shadow',
    qualification: '0',
    provoke(guest) {
      guest.primary('use-tpr-shadow').field(F.TPR_THRESHOLD, 3);
      guest.engine.bytes[guest.pageOf(F.VIRTUAL_APIC_ADDRESS) + 0x80] = 0x80;
      guest.register(0, 2).code(0x44, 0x0f, 0x22, 0xc0); // MOV CR8, RAX
    },
    value: 0,
    behind: 4,
  },
  /* 44 */ {
    how: 'an access to the APIC-access page that is not virtualised',
    qualification: '11:0 offset, 15:12 kind of access',
    provoke(guest) {
      guest.secondary('virtualize-apic-accesses');
      guest.ept.protect(DATA, EptRights.RWX, guest.pageOf(F.APIC_ACCESS_ADDRESS));
      guest.code(0x8b, 0x5e, 0x70); // MOV EBX, [RSI + 70H]
    },
    value: 0x70,
  },
  /* 45 */ {
    how: 'an EOI of a vector of the EOI-exit bitmap, with virtual-interrupt delivery',
    qualification: '7:0 vector',
    provoke(guest) {
      guest.pin('external-interrupt-exiting').primary('use-tpr-shadow', 'use-msr-bitmaps');
      guest.secondary('virtual-interrupt-delivery', 'virtualize-x2apic-mode');
      guest.pageOf(F.MSR_BITMAP);
      const apic = guest.pageOf(F.VIRTUAL_APIC_ADDRESS);
      guest.engine.words[(apic + 0x120) >>> 2] = 1; // vector 40H is in service
      guest.field(F.GUEST_INTERRUPT_STATUS, 0x4000).field(F.EOI_EXIT_BITMAP_1, 1);
      guest.register(1, 0x80b).register(0, 0).register(2, 0).code(0x0f, 0x30); // WRMSR
    },
    value: 0x40,
    behind: 2,
  },
  /* 46 */ {
    how: 'SGDT, SIDT, LGDT, LIDT, with descriptor-table exiting',
    qualification: 'displacement of the operand',
    provoke: (guest) => void guest.code(0x0f, 0x01, 0x46, 0x10).secondary('descriptor-table-exiting'),
    value: 0x10,
  },
  /* 47 */ {
    how: 'SLDT, STR, LLDT, LTR, with descriptor-table exiting',
    qualification: 'displacement of the operand',
    provoke: (guest) => void guest.code(0x0f, 0x00, 0x46, 0x10).secondary('descriptor-table-exiting'),
    value: 0x10,
  },
  /* 48 */ {
    how: 'an access that the EPT do not allow: to a device, or to a page of a view',
    qualification:
      '2:0 what was tried, 5:3 what is allowed, 7 a linear address is there, 8 it is the access itself, 12 IRET had unblocked NMIs',
    provoke(guest) {
      guest.ept.protect(DATA, EptRights.READ);
      guest.code(0x88, ...memory); // MOV [RSI], AL
    },
    value: 0x18a,
  },
  /* 49 */ {
    how: 'an EPT entry that is not valid',
    qualification: '0',
    provoke(guest) {
      guest.ept.protect(DATA, EptRights.RWX);
      guest.engine.words[guest.leaf() >>> 2] ^= 0x20; // a reserved memory type
      guest.code(0x8a, ...memory);
    },
    value: 0,
  },
  /* 50 */ displaced('INVEPT', 0x66, 0x0f, 0x38, 0x80, 0x46),
  /* 51 */ withPrimary('RDTSCP, with RDTSC exiting', 'rdtsc-exiting', 0x0f, 0x01, 0xf9),
  /* 52 */ {
    how: "the VMX-preemption timer; the framework's deadlines come as this reason too",
    qualification: '0; 1 from the vmx backend: a vCPU gives up its turn',
    provoke(guest) {
      guest.pin('activate-preemption-timer').field(F.GUEST_PREEMPTION_TIMER, 0).code(0x90);
    },
    value: 0,
  },
  /* 53 */ displaced('INVVPID', 0x66, 0x0f, 0x38, 0x81, 0x46),
  /* 54 */ {
    ...instruction('WBINVD and WBNOINVD, with WBINVD exiting'),
    provoke: (guest) => void guest.code(0x0f, 0x09).secondary('wbinvd-exiting'),
  },
  /* 55 */ {
    ...instruction('XSETBV'),
    provoke: (guest) => void guest.cr4(1 << 18).code(0x0f, 0x01, 0xd1),
  },
  /* 56 */ {
    how: 'a write to the virtual-APIC page that software must see, with APIC-register virtualization',
    qualification: '11:0 offset',
    provoke(guest) {
      guest.primary('use-tpr-shadow').secondary('virtualize-apic-accesses', 'apic-register-virtualization');
      guest.pageOf(F.VIRTUAL_APIC_ADDRESS);
      guest.ept.protect(DATA, EptRights.RWX, guest.pageOf(F.APIC_ACCESS_ADDRESS));
      guest.code(0x89, 0x86, 0xf0, 0, 0, 0); // MOV [RSI + F0H], EAX
    },
    value: 0xf0,
    behind: 6,
  },
  /* 57 */ {
    ...instruction('RDRAND, with RDRAND exiting'),
    provoke: (guest) => void guest.code(0x0f, 0xc7, 0xf0).secondary('rdrand-exiting'),
  },
  /* 58 */ {
    how: 'INVPCID, with INVLPG exiting',
    qualification: 'displacement of the operand',
    provoke: (guest) => void guest.code(0x66, 0x0f, 0x38, 0x82, 0x46, 0x10).primary('invlpg-exiting'),
    value: 0x10,
  },
  /* 59 */ {
    ...instruction('VMFUNC of a function that is off, or with an index or entry that is not valid'),
    provoke: (guest) => void guest.register(0, 5).code(0x0f, 0x01, 0xd4).secondary('enable-vm-functions'),
  },
  /* 60 */ none('none: there is no SGX, ENCLS raises #UD', 0x0f, 0x01, 0xcf),
  /* 61 */ {
    ...instruction('RDSEED, with RDSEED exiting'),
    provoke: (guest) => void guest.code(0x0f, 0xc7, 0xf8).secondary('rdseed-exiting'),
  },
  /* 62 */ {
    how: 'a page becomes dirty while the page-modification log is full',
    qualification: '12 IRET had unblocked NMIs',
    provoke(guest) {
      guest.secondary('enable-pml').field(F.EPT_POINTER, eptPointer(guest.ept.root, 6, true));
      guest.pageOf(F.PML_ADDRESS);
      guest.field(F.PML_INDEX, 0xffff).code(0x88, ...memory);
    },
    value: 0,
  },
  /* 63 */ supervisorState('XSAVES', 0x6e),
  /* 64 */ supervisorState('XRSTORS', 0x5e),
  /* 65 */ none('none: PCONFIG is not there and raises #UD', 0x0f, 0x01, 0xc5),
  /* 66 */ {
    how: 'a write to a page with sub-page permissions for which the table has no entry, or one that is not valid',
    qualification: '11 no entry, 12 IRET had unblocked NMIs',
    provoke(guest) {
      guest.secondary('sub-page-write-permissions');
      guest.pageOf(F.SUB_PAGE_PERMISSION_TABLE_POINTER);
      guest.ept.protect(DATA, EptRights.READ);
      guest.engine.words[(guest.leaf() >>> 2) + 1] |= 1 << 29; // bit 61
      guest.code(0x88, ...memory);
    },
    value: 1 << 11,
  },
  /* 67 */ waiting('UMWAIT', 0xf2),
  /* 68 */ waiting('TPAUSE', 0x66),
  /* 69 */ none('none: there is no key locker, LOADIWKEY raises #UD', 0xf3, 0x0f, 0x38, 0xdc, 0xc1),
  /* 70 */ none('none: there is no SGX, ENCLV raises #UD', 0x0f, 0x01, 0xc0),
  /* 71 */ unused,
  /* 72 */ none('none: ENQCMD is not there and raises #UD', 0xf2, 0x0f, 0x38, 0xf8, 0x06),
  /* 73 */ none('none: ENQCMDS is not there and raises #UD', 0xf3, 0x0f, 0x38, 0xf8, 0x06),
  /* 74 */ {
    how: 'a locked access across two cache lines, with VMM bus-lock detection; behind the instruction',
    qualification: '0',
    provoke(guest) {
      guest.secondary('vmm-bus-lock-detection').register(6, DATA + 62);
      guest.code(0xf0, 0xff, ...memory); // LOCK INC dword [RSI]
    },
    value: 0,
    behind: 3,
  },
  /* 75 */ {
    how: 'events whose delivery raises the next one, longer than the limit of the control instruction timeout',
    qualification: '0: the context is lost; 12 IRET had unblocked NMIs',
    provoke(guest) {
      alignmentLoop(guest);
      guest.secondary('instruction-timeout').field(F.INSTRUCTION_TIMEOUT, 100);
    },
    value: 0,
  },
];

/** XSS has no bit that a guest could set; here it is given one. */
function supervisorState(name: string, modrm: number): Provoked {
  return {
    how: `${name} of a component of the XSS-exiting bitmap; no guest can have one, because CPUID reports no supervisor state`,
    qualification: 'displacement of the operand',
    provoke(guest) {
      guest
        .secondary('enable-xsaves')
        .cr4(1 << 18)
        .field(F.XSS_EXITING_BITMAP, 1 << 8);
      guest.engine.words[layout.MSR_XSS >>> 2] = 1 << 8;
      guest
        .register(0, 1 << 8)
        .register(2, 0)
        .code(0x48, 0x0f, 0xc7, modrm, 0x10); // [RSI + 10H]
    },
    value: 0x10,
    information: (2 << 7) | (3 << 15) | (1 << 22) | (6 << 23), // 64-bit address, DS, no index, RSI: as of VMCLEAR
  };
}

function waiting(name: string, prefix: number): Provoked {
  return {
    how: `${name}, with RDTSC exiting and enable user wait and pause`,
    qualification: '0',
    provoke: (guest) =>
      void guest.code(prefix, 0x0f, 0xae, 0xf1).primary('rdtsc-exiting').secondary('enable-user-wait-and-pause'),
    value: 0,
  };
}

/** 32-bit code at CPL 3 on a stack that is not aligned, with a handler of #AC at CPL 3: its frame cannot be pushed without #AC (CVE-2015-5307). */
export function alignmentLoop(guest: Guest): void {
  const { engine } = guest;
  guest.field(F.ENTRY_CONTROLS, engine.vmcs.read32(F.ENTRY_CONTROLS) & ~(1 << 9)).secondary('unrestricted-guest');
  engine.efer = 0n;
  engine.cr0 = 0x40031n; // AM, no paging
  engine.cr4 = 0x2000n & engine.cr4;
  engine.memory.writeU64(GDT + 0x18, 0x00cffb000000ffffn);
  engine.memory.writeU64(
    IDT + 17 * 8,
    BigInt(HANDLER & 0xffff) | (0x1bn << 16n) | (0xeen << 40n) | (BigInt(HANDLER >>> 16) << 48n),
  );
  engine.idtr = { base: BigInt(IDT), limit: 0x7ff };
  for (const index of [0, 2, 3, 4, 5])
    engine.setSegment(index, { selector: 0x23, base: 0n, limit: 0xffff_ffff, accessRights: 0xc0f3 });
  engine.setSegment(1, { selector: 0x1b, base: 0n, limit: 0xffff_ffff, accessRights: 0xc0fb });
  guest.register(4, STACK + 2).code(0x8b, 0x46, 0x01); // MOV EAX, [ESI + 1]
  engine.rflags = 0x4_0002;
}
