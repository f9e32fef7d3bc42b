/** VM exits, event injection, windows and EPT on the compiled processor. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  EptRights,
  ExitReason,
  VMCS_FIELDS,
  VmcsField as F,
  controlBits,
  eptPointer,
  interruptionInfo,
} from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';
import { Engine } from './engine.js';
import { GUEST_RAM } from './layout.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';
import { ENTER_DEADLINE, VMCS_REVISION } from './vmcs-layout.js';

const CODE = 0x10000;
const HANDLER = 0x18000;
const IDT = 0x20000;
const GDT = 0x21000;
const STACK = 0x30000;
const NOP = 0x90,
  HLT = 0xf4;

let engine: Engine;
let ept: EptBuilder;
const add = (field: number, bits: number): void => engine.vmcs.write32(field, (engine.vmcs.read32(field) | bits) >>> 0);
const primary = (...names: string[]): void => add(F.PRIMARY_CONTROLS, controlBits('primary', names));
const secondary = (...names: string[]): void => add(F.SECONDARY_CONTROLS, controlBits('secondary', names));
const read = (field: number): number => engine.vmcs.read32(field);
const code = (...bytes: number[]): void => {
  engine.memory.write(CODE, Uint8Array.from(bytes));
  engine.rip = BigInt(CODE);
};

/** A 64-bit guest with an IDT whose gates all lead to a HLT at HANDLER + vector. */
beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  writeIdentityTables(engine);
  ept = writeValidVmcs(engine);
  engine.memory.writeU64(GDT + 8, 0x00af9b000000ffffn);
  engine.memory.writeU64(GDT + 16, 0x00cf93000000ffffn);
  for (let vector = 0; vector < 256; vector++) {
    const offset = HANDLER + vector;
    engine.memory.writeU64(
      IDT + vector * 16,
      BigInt(offset & 0xffff) | (8n << 16n) | (0x8en << 40n) | (BigInt(offset >>> 16) << 48n),
    );
  }
  engine.memory.fill(HANDLER, 256, HLT);
  engine.idtr = { base: BigInt(IDT), limit: 4095 };
  engine.gdtr = { base: BigInt(GDT), limit: 0xff };
  engine.setRegister(4, BigInt(STACK));
});

describe('exits', () => {
  it('leaves RIP at the instruction and gives its length', () => {
    code(NOP, 0x0f, 0xa2, HLT); // CPUID
    expect(engine.enter()).toBe(ExitReason.CPUID);
    expect(engine.rip).toBe(BigInt(CODE + 1));
    expect(read(F.EXIT_INSTRUCTION_LENGTH)).toBe(2);
    expect(read(F.EXIT_REASON)).toBe(ExitReason.CPUID);
    expect(engine.retired).toBe(1);
  });

  it('gives port, size and direction of I/O', () => {
    code(0xe5, 0x71); // IN EAX, 71H
    expect(engine.enter()).toBe(ExitReason.IO);
    // 4 bytes, IN, immediate, port 71H (table 28-5)
    expect(read(F.EXIT_QUALIFICATION)).toBe(0x0071_004b);
  });

  it('asks the I/O bitmaps', () => {
    const bitmaps = engine.pages.allocate(2);
    primary('use-io-bitmaps');
    engine.vmcs.write64(F.IO_BITMAP_A, BigInt(bitmaps));
    engine.vmcs.write64(F.IO_BITMAP_B, BigInt(bitmaps + 4096));
    engine.bytes[bitmaps + 4096 + 0x10] = 1; // port 8080H
    code(0x66, 0xba, 0x80, 0x80, 0xec); // MOV DX, 8080H; IN AL, DX
    expect(engine.enter()).toBe(ExitReason.IO);
    expect(read(F.EXIT_QUALIFICATION) >>> 16).toBe(0x8080);
  });

  it('exits for the exceptions of the bitmap, with vector, error code and linear address', () => {
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 1 << 14);
    code(0x48, 0xa1, 0, 0, 0, 0, 2, 0, 0, 0); // MOV RAX, [200000000H]
    expect(engine.enter()).toBe(ExitReason.EXCEPTION_OR_NMI);
    expect(read(F.EXIT_INTERRUPTION_INFO)).toBe(0x8000_0b0e);
    expect(read(F.EXIT_INTERRUPTION_ERROR_CODE)).toBe(0);
    expect(engine.vmcs.read64(F.EXIT_QUALIFICATION)).toBe(0x2_0000_0000n);
    expect(engine.cr2).toBe(0n); // CR2 is not changed by an exit (28.1)
  });

  it('compares page-fault error codes with mask and match', () => {
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 1 << 14);
    engine.vmcs.write32(F.PAGE_FAULT_ERROR_MASK, 2);
    engine.vmcs.write32(F.PAGE_FAULT_ERROR_MATCH, 2); // writes only
    code(0x48, 0xa1, 0, 0, 0, 0, 2, 0, 0, 0);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.rip).toBe(BigInt(HANDLER + 14));
    expect(engine.cr2).toBe(0x2_0000_0000n);
  });

  it('reports a triple fault', () => {
    engine.idtr = { base: 0n, limit: 0 };
    code(0x0f, 0x0b);
    expect(engine.enter()).toBe(ExitReason.TRIPLE_FAULT);
    expect(read(F.IDT_VECTORING_INFO)).toBe(0);
  });

  it('reports the event whose delivery was cut short', () => {
    ept.protect(STACK - 8, EptRights.NONE);
    code(0x0f, 0x0b); // UD2, whose frame cannot be written
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
    expect(read(F.IDT_VECTORING_INFO)).toBe(interruptionInfo(6, 3));
    expect(engine.vmcs.read64(F.GUEST_PHYSICAL_ADDRESS) & ~0xfffn).toBe(BigInt(STACK - 0x1000));
  });
});

describe('event injection', () => {
  it('delivers an external interrupt and clears the valid bit', () => {
    code(NOP);
    engine.rflags = 0x202;
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(0x31, 0));
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.rip).toBe(BigInt(HANDLER + 0x31));
    expect(read(F.ENTRY_INTERRUPTION_INFO) >>> 31).toBe(0);
    expect(engine.memory.readU64(STACK - 40)).toBe(BigInt(CODE));
  });

  it('pushes the address behind a software interrupt', () => {
    code(0xcd, 0x80);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(0x80, 4));
    engine.vmcs.write32(F.ENTRY_INSTRUCTION_LENGTH, 2);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.memory.readU64(STACK - 40)).toBe(BigInt(CODE + 2));
  });

  it('pushes error codes', () => {
    code(NOP);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(13, 3, true));
    engine.vmcs.write32(F.ENTRY_EXCEPTION_ERROR_CODE, 0x1234);
    engine.enter();
    expect(engine.memory.readU64(STACK - 48)).toBe(0x1234n);
  });

  it('blocks NMIs after an NMI until IRET', () => {
    engine.memory.write(HANDLER + 2, Uint8Array.of(0x48, 0xcf)); // IRETQ
    code(HLT);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(2, 2));
    primary('nmi-window-exiting');
    expect(engine.enter()).toBe(ExitReason.NMI_WINDOW);
    expect(engine.rip).toBe(BigInt(CODE)); // behind the IRET
    expect(read(F.GUEST_INTERRUPTIBILITY) & 8).toBe(0);
  });

  it('wakes a halted guest', () => {
    code(NOP);
    engine.rflags = 0x202;
    engine.vmcs.write32(F.GUEST_ACTIVITY, 1);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(0x31, 0));
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(read(F.GUEST_ACTIVITY)).toBe(0);
  });
});

describe('windows, single steps and timers', () => {
  it('opens the interrupt window one instruction behind STI', () => {
    code(NOP, 0xfb, NOP, NOP, HLT);
    primary('interrupt-window-exiting');
    expect(engine.enter()).toBe(ExitReason.INTERRUPT_WINDOW);
    expect(engine.rip).toBe(BigInt(CODE + 3));
  });

  it('exits before the first instruction when the window is open', () => {
    code(NOP);
    engine.rflags = 0x202;
    primary('interrupt-window-exiting');
    expect(engine.enter()).toBe(ExitReason.INTERRUPT_WINDOW);
    expect(engine.rip).toBe(BigInt(CODE));
  });

  it('steps with the monitor trap flag', () => {
    code(NOP, NOP, 0x0f, 0x0b);
    primary('monitor-trap-flag');
    const places: bigint[] = [];
    for (let i = 0; i < 3; i++) {
      expect(engine.enter()).toBe(ExitReason.MONITOR_TRAP_FLAG);
      places.push(engine.rip);
    }
    // the third boundary is the first instruction of the handler of #UD
    expect(places).toEqual([BigInt(CODE + 1), BigInt(CODE + 2), BigInt(HANDLER + 6)]);
  });

  it('has the monitor trap pending before the handler of an injected event', () => {
    code(NOP);
    engine.rflags = 0x202;
    primary('monitor-trap-flag');
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(0x31, 0));
    expect(engine.enter()).toBe(ExitReason.MONITOR_TRAP_FLAG);
    expect(engine.rip).toBe(BigInt(HANDLER + 0x31));
  });

  it('takes a pending MTF exit from injection type 7', () => {
    code(NOP);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(0, 7));
    expect(engine.enter()).toBe(ExitReason.MONITOR_TRAP_FLAG);
    expect(engine.rip).toBe(BigInt(CODE));
  });

  it('delivers pending debug exceptions after an entry', () => {
    code(NOP);
    engine.vmcs.write64(F.GUEST_PENDING_DEBUG, 0x4000n);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.rip).toBe(BigInt(HANDLER + 1));
    expect(engine.getDebugRegister(6) & 0x4000n).toBe(0x4000n);
  });

  it('counts the preemption timer down by one for 32 ticks, and saves it', () => {
    code(0xeb, 0xfe); // JMP to itself
    add(F.PIN_CONTROLS, controlBits('pin', ['activate-preemption-timer']));
    add(F.EXIT_CONTROLS, controlBits('exit', ['save-preemption-timer']));
    engine.vmcs.write32(F.GUEST_PREEMPTION_TIMER, 10);
    expect(engine.enter()).toBe(ExitReason.PREEMPTION_TIMER);
    expect(engine.retired).toBe(320);
    expect(read(F.GUEST_PREEMPTION_TIMER)).toBe(0);
    engine.vmcs.write32(F.GUEST_PREEMPTION_TIMER, 10);
    engine.setDeadline(320 + 64);
    expect(engine.enter()).toBe(ENTER_DEADLINE);
    expect(engine.retired).toBe(384);
  });

  it('stops at a deadline to the instruction, and goes on', () => {
    code(0x48, 0xff, 0xc0, 0xeb, 0xfb); // INC RAX; JMP back
    engine.setDeadline(1001);
    expect(engine.enter()).toBe(ENTER_DEADLINE);
    expect(engine.retired).toBe(1001);
    expect(engine.getRegister(0)).toBe(501n);
    engine.setDeadline(1002);
    expect(engine.enter()).toBe(ENTER_DEADLINE);
    expect(engine.rip).toBe(BigInt(CODE));
  });
});

describe('EPT', () => {
  const load = (): void => code(0xa0, 0, 0, 4, 0, 0, 0, 0, 0, HLT); // MOV AL, [40000H]
  const store = (): void => code(0xa2, 0, 0, 4, 0, 0, 0, 0, 0, HLT);

  it.each([
    ['a read of an unmapped page', load, EptRights.NONE, 0x181],
    ['a write to an unmapped page', store, EptRights.NONE, 0x182],
    ['a write to a read-only page', store, EptRights.READ, 0x18a],
    ['a write to code', store, EptRights.RX, 0x1aa],
    ['a read of an execute-only page', load, EptRights.EXECUTE, 0x1a1],
  ])('reports %s', (_name, instruction, rights, qualification) => {
    instruction();
    ept.protect(0x40000, rights);
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
    expect(read(F.EXIT_QUALIFICATION)).toBe(qualification);
    expect(engine.vmcs.read64(F.GUEST_PHYSICAL_ADDRESS)).toBe(0x40000n);
    expect(engine.vmcs.read64(F.GUEST_LINEAR_ADDRESS)).toBe(0x40000n);
    expect(engine.rip).toBe(BigInt(CODE));
    ept.protect(0x40000, EptRights.RWX);
    engine.flushTranslations();
    expect(engine.enter()).toBe(ExitReason.HLT);
  });

  it('reports a fetch', () => {
    code(NOP, NOP);
    ept.protect(CODE, EptRights.RW);
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
    expect(read(F.EXIT_QUALIFICATION)).toBe(0x19c);
  });

  it('reports a paging structure by bit 8', () => {
    load();
    ept.protect(0x2000, EptRights.NONE);
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
    expect(read(F.EXIT_QUALIFICATION) & 0x180).toBe(0x80);
    expect(engine.vmcs.read64(F.GUEST_PHYSICAL_ADDRESS) & ~0xfffn).toBe(0x2000n);
  });

  it('calls reserved memory types misconfigured', () => {
    load();
    ept.protect(0x40000, EptRights.RWX);
    const words = engine.words,
      leaf = leafOf(0x40000);
    words[leaf >>> 2] = (words[leaf >>> 2] & ~0x38) | (2 << 3);
    expect(engine.enter()).toBe(ExitReason.EPT_MISCONFIGURATION);
    expect(engine.vmcs.read64(F.GUEST_PHYSICAL_ADDRESS)).toBe(0x40000n);
  });

  it('keeps accessed and dirty flags, and logs pages that become dirty', () => {
    store();
    ept.protect(0x40000, EptRights.RWX);
    engine.vmcs.write64(F.EPT_POINTER, eptPointer(ept.root, 6, true));
    secondary('enable-pml');
    const log = engine.pages.allocatePage();
    engine.vmcs.write64(F.PML_ADDRESS, BigInt(log));
    engine.vmcs.write32(F.PML_INDEX, 511);
    expect(engine.enter()).toBe(ExitReason.HLT);
    const logged = [...engine.longs.slice((log >>> 3) + read(F.PML_INDEX) + 1, (log >>> 3) + 512)];
    expect(logged).toContain(0x40000n);
    expect(engine.words[leafOf(0x40000) >>> 2] & 0x300).toBe(0x300);
  });

  it('exits when the log is full, before the write', () => {
    store();
    engine.setRegister(0, 0x55n);
    engine.vmcs.write64(F.EPT_POINTER, eptPointer(ept.root, 6, true));
    secondary('enable-pml');
    engine.vmcs.write64(F.PML_ADDRESS, BigInt(engine.pages.allocatePage()));
    engine.vmcs.write32(F.PML_INDEX, 0xffff);
    expect(engine.enter()).toBe(ExitReason.PML_FULL);
    expect(engine.memory.readU8(0x40000)).toBe(0);
  });

  it('gives the guest #VE instead of an exit where suppression is off', () => {
    load();
    const area = engine.pages.allocatePage();
    secondary('ept-violation-ve');
    engine.vmcs.write64(F.VIRTUALIZATION_EXCEPTION_INFORMATION, BigInt(area));
    ept.protect(0x40000, EptRights.NONE);
    ept.suppressVe(0x40000, false);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.rip).toBe(BigInt(HANDLER + 20));
    const words = engine.words.slice(area >>> 2, (area >>> 2) + 8);
    expect([words[0], words[1], words[2] & 0x181, words[4], words[6]]).toEqual([
      48, 0xffffffff, 0x181, 0x40000, 0x40000,
    ]);
    // The area is busy until the guest clears it: the next violation exits
    engine.rip = BigInt(CODE);
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
  });

  it('switches hierarchies with VMFUNC', () => {
    const other = ept.clone();
    other.protect(0x40000, EptRights.RWX, GUEST_RAM + 0x50000);
    engine.memory.writeU8(0x40000, 1);
    engine.memory.writeU8(0x50000, 2);
    const list = engine.pages.allocatePage();
    engine.longs[list >>> 3] = eptPointer(ept.root);
    engine.longs[(list >>> 3) + 1] = eptPointer(other.root);
    secondary('enable-vm-functions');
    engine.vmcs.write64(F.VM_FUNCTION_CONTROLS, 1n);
    engine.vmcs.write64(F.EPTP_LIST_ADDRESS, BigInt(list));
    // MOV BL, [RSI]; VMFUNC; MOV BH, [RSI]; HLT
    code(0x8a, 0x1e, 0x0f, 0x01, 0xd4, 0x8a, 0x3e, HLT);
    engine.setRegister(6, 0x40000n);
    engine.setRegister(1, 1n);
    engine.setRegister(0, 0n);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.getRegister32(3)).toBe(0x0201);
    // an index beyond the list exits
    engine.setRegister(1, 512n);
    engine.rip = BigInt(CODE);
    expect(engine.enter()).toBe(ExitReason.VMFUNC);
  });

  /** Address of the level 1 entry of a page that was split out. */
  function leafOf(gpa: number): number {
    let table = ept.root;
    for (let level = 4; level > 1; level--)
      table = (engine.words[(table >>> 2) + (Math.floor(gpa / 2 ** (3 + 9 * level)) % 512) * 2] & ~0xfff) >>> 0;
    return table + ((gpa >>> 12) & 511) * 8;
  }
});

describe('memory-mapped accesses', () => {
  it('runs the instruction again with what the framework read', () => {
    ept.unmap(0x40000, 0x1000);
    code(0x48, 0x03, 0x06, HLT); // ADD RAX, [RSI]
    engine.setRegister(6, 0x40008n);
    engine.setRegister(0, 1n);
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
    const { mmio } = engine;
    expect([mmio.requested, mmio.gpa, mmio.size, mmio.write]).toEqual([true, 0x40008, 8, false]);
    mmio.setData(0, 4, 0x1000);
    mmio.setData(4, 4, 2);
    mmio.complete();
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.getRegister(0)).toBe(0x2_0000_1001n);
  });

  it('takes read and write of one instruction in turn', () => {
    ept.unmap(0x40000, 0x1000);
    code(0x0f, 0xc1, 0x06, HLT); // XADD [RSI], EAX
    engine.setRegister(6, 0x40000n);
    engine.setRegister(0, 5n);
    const { mmio } = engine;
    engine.enter();
    mmio.setData(0, 4, 7);
    mmio.complete();
    expect(engine.enter()).toBe(ExitReason.EPT_VIOLATION);
    expect([mmio.write, mmio.data(0, 4)]).toEqual([true, 12]);
    mmio.complete();
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.getRegister32(0)).toBe(7);
  });
});

describe('virtual APIC', () => {
  const CR8 = [0x44, 0x0f, 0x22, 0xc0]; // MOV CR8, RAX
  let apic: number;
  beforeEach(() => {
    primary('use-tpr-shadow');
    apic = engine.pages.allocatePage();
    engine.vmcs.write64(F.VIRTUAL_APIC_ADDRESS, BigInt(apic));
  });

  it('keeps CR8 in the page and exits below the threshold, behind the instruction', () => {
    engine.bytes[apic + 0x80] = 0x80;
    engine.vmcs.write32(F.TPR_THRESHOLD, 3);
    code(...CR8, HLT);
    engine.setRegister(0, 2n);
    expect(engine.enter()).toBe(ExitReason.TPR_BELOW_THRESHOLD);
    expect(engine.rip).toBe(BigInt(CODE + 4));
    expect(engine.bytes[apic + 0x80]).toBe(0x20);
    engine.vmcs.write32(F.TPR_THRESHOLD, 0);
    expect(engine.enter()).toBe(ExitReason.HLT);
  });

  it('delivers virtual interrupts by priority, and exits for an EOI of the bitmap', () => {
    add(F.PIN_CONTROLS, controlBits('pin', ['external-interrupt-exiting']));
    secondary('virtual-interrupt-delivery', 'virtualize-x2apic-mode');
    engine.vmcs.write64(F.EOI_EXIT_BITMAP_1, 1n); // vector 40H
    engine.words[(apic + 0x220) >>> 2] = 1; // IRR bit 40H
    engine.vmcs.write32(F.GUEST_INTERRUPT_STATUS, 0x40);
    // handler: WRMSR to the x2APIC EOI register
    engine.memory.write(HANDLER + 0x40, Uint8Array.of(0xb9, 0x0b, 8, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, HLT));
    primary('use-msr-bitmaps');
    engine.vmcs.write64(F.MSR_BITMAP, BigInt(engine.pages.allocatePage()));
    code(NOP);
    engine.rflags = 0x202;
    expect(engine.enter()).toBe(ExitReason.VIRTUALIZED_EOI);
    expect(read(F.EXIT_QUALIFICATION)).toBe(0x40);
    expect(engine.rip).toBe(BigInt(HANDLER + 0x40 + 11));
    expect(read(F.GUEST_INTERRUPT_STATUS)).toBe(0);
    expect(engine.words[(apic + 0x120) >>> 2]).toBe(0);
  });

  it('answers for the APIC-access page, and exits for what it does not virtualise', () => {
    secondary('virtualize-apic-accesses');
    const page = engine.pages.allocatePage();
    engine.vmcs.write64(F.APIC_ACCESS_ADDRESS, BigInt(page));
    ept.protect(0x40000, EptRights.RWX, page);
    engine.words[(apic + 0x80) >>> 2] = 0x55;
    engine.setRegister(6, 0x40080n);
    code(0x8b, 0x06, 0x8b, 0x5e, 0x70, HLT); // MOV EAX, [RSI]; MOV EBX, [RSI+70H]
    expect(engine.enter()).toBe(ExitReason.APIC_ACCESS);
    expect(engine.getRegister32(0)).toBe(0x55);
    expect(read(F.EXIT_QUALIFICATION)).toBe(0x0f0);
    expect(engine.rip).toBe(BigInt(CODE + 2));
  });

  it('comes out behind a virtualised write that software must see', () => {
    secondary('virtualize-apic-accesses', 'apic-register-virtualization');
    const page = engine.pages.allocatePage();
    engine.vmcs.write64(F.APIC_ACCESS_ADDRESS, BigInt(page));
    ept.protect(0x40000, EptRights.RWX, page);
    engine.setRegister(6, 0x40000n);
    engine.setRegister(0, 0x1ffn);
    code(0x89, 0x86, 0xf0, 0, 0, 0, NOP, NOP, HLT); // MOV [RSI+F0H], EAX
    expect(engine.enter()).toBe(ExitReason.APIC_WRITE);
    expect(read(F.EXIT_QUALIFICATION)).toBe(0xf0);
    expect(engine.rip).toBe(BigInt(CODE + 6));
    expect(engine.words[(apic + 0xf0) >>> 2]).toBe(0x1ff);
    expect(engine.enter()).toBe(ExitReason.HLT);
  });
});

describe('several VMCSs', () => {
  it('keeps the guest state of each', () => {
    const region = (): number => {
      const page = engine.pages.allocatePage();
      engine.words[page >>> 2] = VMCS_REVISION;
      return page;
    };
    const first = region(),
      second = region();
    expect(engine.vmptrld(first)).toBe(0);
    const ept1 = writeValidVmcs(engine);
    engine.rip = 0x1111n;
    engine.rflags = 0x246;
    expect(engine.vmptrld(second)).toBe(0);
    writeValidVmcs(engine);
    engine.rip = 0x2222n;
    engine.setSegment(5, { selector: 0x18, base: 0x1234_5678n, limit: 0xffff_ffff, accessRights: 0xc093 });
    expect(engine.vmptrld(first)).toBe(0);
    expect([engine.rip, engine.rflags, engine.getSegment(5).base]).toEqual([0x1111n, 0x246, 0n]);
    expect(engine.vmcs.read64(F.EPT_POINTER) & ~0xfffn).toBe(BigInt(ept1.root));
    expect(engine.vmptrld(second)).toBe(0);
    expect([engine.rip, engine.getSegment(5)]).toEqual([
      0x2222n,
      { selector: 0x18, base: 0x1234_5678n, limit: 0xffff_ffff, accessRights: 0xc093 },
    ]);
    expect(engine.vmclear(second)).toBe(0);
    expect(engine.vmptrst()).toBe(0xffff_ffff);
  });

  it('refuses a bad address and a wrong revision', () => {
    expect(engine.vmptrld(0x123)).toBe(9);
    expect(engine.vmptrld(engine.pages.allocatePage())).toBe(11);
    expect(engine.vmclear(0)).toBe(2);
  });
});

describe('MSR areas', () => {
  it('loads MSRs at entry and stores them at exit', () => {
    const areas = engine.pages.allocatePage();
    engine.words[areas >>> 2] = 0xc0000081; // STAR
    engine.longs[(areas + 8) >>> 3] = 0x1234_5678_9abcn;
    engine.words[(areas + 2048) >>> 2] = 0xc0000081;
    engine.vmcs.write64(F.ENTRY_MSR_LOAD_ADDRESS, BigInt(areas));
    engine.vmcs.write32(F.ENTRY_MSR_LOAD_COUNT, 1);
    engine.vmcs.write64(F.EXIT_MSR_STORE_ADDRESS, BigInt(areas + 2048));
    engine.vmcs.write32(F.EXIT_MSR_STORE_COUNT, 1);
    code(HLT);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.longs[(areas + 2056) >>> 3]).toBe(0x1234_5678_9abcn);
  });

  it('fails the entry at the first MSR that cannot be loaded', () => {
    const area = engine.pages.allocatePage();
    engine.words[area >>> 2] = 0xc0000081;
    engine.words[(area + 16) >>> 2] = 0xc0000100; // FS.base has a field
    engine.vmcs.write64(F.ENTRY_MSR_LOAD_ADDRESS, BigInt(area));
    engine.vmcs.write32(F.ENTRY_MSR_LOAD_COUNT, 2);
    code(HLT);
    expect(engine.enter()).toBe(0x8000_0022);
    expect(read(F.EXIT_QUALIFICATION)).toBe(2);
  });
});

describe('outside view', () => {
  it('translates without changing anything', () => {
    expect(engine.translate(0x12345n).gpa).toBe(0x12345);
    expect(engine.memory.readU64(0x1000) & 0x20n).toBe(0n);
    const fault = engine.translate(0x2_0000_0000n);
    expect([fault.gpa, fault.vector, fault.errorCode]).toEqual([-1, 14, 0]);
  });

  it('goes on from a saved state in another engine', async () => {
    code(0x48, 0xff, 0xc0, 0xeb, 0xfb);
    engine.setDeadline(1000);
    engine.enter();
    const other = await Engine.create({ memoryBytes: 4 << 20 });
    other.memory.write(0, engine.memory.read(0, 4 << 20));
    other.restoreState(engine.saveState());
    for (const each of [engine, other]) {
      each.setDeadline(5001);
      expect(each.enter()).toBe(ENTER_DEADLINE);
    }
    expect([other.getRegister(0), other.rip, other.retired, other.rflags]).toEqual([
      engine.getRegister(0),
      engine.rip,
      engine.retired,
      engine.rflags,
    ]);
  });

  it('sees code that was written from outside', () => {
    code(NOP, NOP, HLT);
    expect(engine.enter()).toBe(ExitReason.HLT);
    engine.memory.write(CODE + 1, Uint8Array.of(0x0f, 0xa2));
    engine.rip = BigInt(CODE);
    expect(engine.enter()).toBe(ExitReason.CPUID);
  });
});

describe('any VMCS', () => {
  it('is entered or refused, and never harms the host', () => {
    const value = fc.oneof(
      fc.bigInt(0n, 0xffffn),
      fc.bigInt(0n, 0xffff_ffffn),
      fc.bigInt(0n, 0xffff_ffff_ffff_ffffn),
      fc.constantFrom(0n, 0x2600000n, 0x2601000n, 0x4600000n),
    );
    const saved = engine.saveState();
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...VMCS_FIELDS.map(({ encoding }) => encoding)), value, fc.boolean()), {
          maxLength: 6,
        }),
        (writes) => {
          engine.restoreState(saved);
          code(NOP, 0xa0, 0, 0, 4, 0, 0, 0, 0, 0, 0x0f, 0x20, 0xc0, 0xcc, HLT);
          for (const [field, bits, replace] of writes)
            engine.vmcs.write64(field, replace ? bits : engine.vmcs.read64(field) ^ (bits & 0xffffn));
          engine.setDeadline(engine.retired + 1000);
          for (let i = 0; i < 3; i++) expect(engine.enter()).toBeGreaterThanOrEqual(0);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
