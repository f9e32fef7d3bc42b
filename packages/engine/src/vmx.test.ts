/** VM exits, event injection, windows, several VMCSs and MSR areas on the compiled processor. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { EptRights, ExitReason, VMCS_FIELDS, VmcsField as F, controlBits, interruptionInfo } from '@visorkit/x86';
import { Engine } from './engine.js';
import { writeValidVmcs } from './testing.js';
import { ENTER_DEADLINE, VMCS_REVISION } from './vmcs-layout.js';
import { CODE, HANDLER, HLT, NOP, STACK, add, code, engine, ept, makeGuest, primary, read } from './test-vmx.js';

beforeEach(makeGuest);

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
    expect(engine.enter()).toBe(ExitReason.EXCEPTION);
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

  it('raises a fault of a fetch behind a deadline, which counts as it does without one', async () => {
    const jump = [0x48, 0xb8, 0, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xe0]; // MOV RAX, 200000000H; JMP RAX
    code(...jump);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect([engine.rip, engine.cr2]).toEqual([BigInt(HANDLER + 14), 0x2_0000_0000n]);
    const { retired } = engine;
    await makeGuest();
    code(...jump);
    engine.setDeadline(2);
    expect(engine.enter()).toBe(ENTER_DEADLINE);
    expect([engine.rip, engine.cr2]).toEqual([0x2_0000_0000n, 0n]);
    engine.setDeadline(Infinity);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(engine.retired).toBe(retired);
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
