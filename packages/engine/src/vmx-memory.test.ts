/** EPT, memory-mapped accesses and the virtual APIC on the compiled processor. */
import { beforeEach, describe, expect, it } from 'vitest';
import { EptRights, ExitReason, VmcsField as F, controlBits, eptPointer } from '@visorkit/x86';
import { GUEST_RAM } from './layout.js';
import { CODE, HANDLER, HLT, NOP, add, code, engine, ept, makeGuest, primary, read, secondary } from './test-vmx.js';

beforeEach(makeGuest);

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
    expect(engine.enter()).toBe(ExitReason.PAGE_MODIFICATION_LOG_FULL);
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
