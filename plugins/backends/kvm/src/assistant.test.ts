/** Instructions that some kernels cannot emulate in ring 0. Where the kernel can, the results must be the same, without assistance. */
import { describe, expect, it } from 'vitest';
import { BackendToken, GuestMemoryToken, Stage, definePlugin } from '@visorkit/core';
import type { GuestMemory, InitialState } from '@visorkit/core';
import { MmioBusToken, writeIdentityMap } from '@visorkit/machine';
import { encodeGate64 } from '@visorkit/x86';
import type { KvmBackend } from './index.js';
import { HLT, kvmUsable, runGuest } from './test-machine.js';
import type { MachineOptions, Ran } from './test-machine.js';

const usable = kvmUsable();
const TABLES = 0x2_0000,
  GDT = 0x3000,
  IDT = 0x3800,
  HANDLERS = 0x4000,
  STACK = 0x8000n;
const DEVICE = 0xd000_0000;
const CR4_PAE = 0x20n,
  CR4_OSFXSR = 0x200n,
  CR4_OSXSAVE = 1n << 18n;
const LOCK_CMPXCHG16B = [0xf0, 0x48, 0x0f, 0xc7, 0x0e]; // [RSI]
const XSAVE = [0x0f, 0xae, 0x26],
  XRSTOR = [0x0f, 0xae, 0x2e]; // [RSI]

/** Runs 64-bit code in ring 0 over an identity map, with handlers that put their vector in R15 and the error code in R14 and halt. */
async function long(
  code: readonly number[],
  state: Partial<InitialState> = {},
  options: MachineOptions = {},
): Promise<Ran> {
  const plugin = definePlugin({
    name: 'guest',
    uses: { ...options.plugin?.uses, memory: GuestMemoryToken },
    apply(host, used) {
      const { memory } = used as { memory: GuestMemory };
      host.hooks.load.tap({ name: 'tables', stage: Stage.Machine }, () => {
        writeIdentityMap(memory, TABLES);
        memory.writeU64(GDT + 8, 0x00af_9b00_0000_ffffn);
        memory.writeU64(GDT + 16, 0x00cf_9300_0000_ffffn);
        for (let vector = 0; vector < 32; vector++) {
          const handler = HANDLERS + vector * 16;
          encodeGate64(8, BigInt(handler), 14).forEach((word, half) =>
            memory.writeU64(IDT + vector * 16 + half * 8, word),
          );
          memory.write(handler, Uint8Array.of(0x41, 0xbf, vector, 0, 0, 0, 0x41, 0x5e, HLT)); // MOV R15D, vector; POP R14; HLT
        }
      });
      options.plugin?.apply?.(host, used);
    },
  });
  return runGuest(code, {
    ...options,
    plugin,
    state: {
      mode: 'long64',
      cr3: BigInt(TABLES),
      rsp: STACK,
      gdtr: { base: BigInt(GDT), limit: 0x17 },
      idtr: { base: BigInt(IDT), limit: 0x1ff },
      ...state,
    },
  });
}

const vectorState: Partial<InitialState> = { cr4: CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE };

describe.skipIf(!usable)('LOCK CMPXCHG16B in ring 0', () => {
  const registers = { rsi: 0x5000n, rax: 1n, rdx: 2n, rbx: 0x1111n, rcx: 0x2222n };

  it('exchanges what is equal, and goes on', async () => {
    const { vmm, memory, vcpu, report, backend } = await long(
      [...LOCK_CMPXCHG16B, 0xbf, 1, 0, 0, 0, HLT],
      { registers },
      { data: { 0x5000: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 2) } },
    );
    expect(report.reason).toBe('halted');
    expect([memory.readU64(0x5000), memory.readU64(0x5008), vcpu.rdi, vcpu.rflags & 0x40n]).toEqual([
      0x1111n,
      0x2222n,
      1n,
      0x40n,
    ]);
    const { assisted } = vcpu;
    expect([0, 1]).toContain(assisted);
    expect(report.statistics?.['assisted instructions'] ?? 0).toBe(assisted);
    if (assisted > 0) expect(report.statistics).toEqual({ 'assisted instructions': 1, 'assisted f0 48 0f c7 /1': 1 });
    expect(backend.capabilities.has('emulation-assist')).toBe(true);
    await vmm.dispose();
  });

  it('loads what is not equal, a thousand times', async () => {
    // MOV EDI, 1000; again: LOCK CMPXCHG16B; INC RBX; DEC EDI; JNZ again
    const code = [0xbf, 0xe8, 3, 0, 0, ...LOCK_CMPXCHG16B, 0x48, 0xff, 0xc3, 0xff, 0xcf, 0x75, 0xf4, HLT];
    const { vmm, memory, vcpu } = await long(
      code,
      { registers: { ...registers, rbx: 5n, rcx: 6n } },
      { data: { 0x5000: Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 4) } },
    );
    // The first time it loads 3 and 4; from then on every other time it stores, and every other it loads what it stored
    expect([vcpu.rdi, vcpu.rbx, memory.readU64(0x5008)]).toEqual([0n, 1005n, 6n]);
    await vmm.dispose();
  });

  it('gives the guest its faults', async () => {
    const misaligned = await long([...LOCK_CMPXCHG16B, HLT], { registers: { ...registers, rsi: 0x5001n } });
    expect([misaligned.vcpu.r15, misaligned.vcpu.r14]).toEqual([13n, 0n]);
    await misaligned.vmm.dispose();
    const absent = await long([...LOCK_CMPXCHG16B, HLT], { registers: { ...registers, rsi: 0x80_0000_0000n } });
    expect([absent.vcpu.r15, absent.vcpu.r14, absent.vcpu.getControlRegister(2)]).toEqual([14n, 2n, 0x80_0000_0000n]);
    await absent.vmm.dispose();
  });

  it('writes pages that the dirty log has', async () => {
    let backend: KvmBackend | undefined;
    const { vmm, vcpu } = await long(
      [...LOCK_CMPXCHG16B, 0x48, 0x81, 0xc6, 0, 0x20, 0, 0, ...LOCK_CMPXCHG16B, HLT],
      { registers: { ...registers, rsi: 0x3_0000n } },
      {
        plugin: definePlugin({
          name: 'log',
          uses: { kvm: BackendToken },
          apply({ hooks }, { kvm }) {
            hooks.loaded.tap({ stage: Stage.Fallback }, () => {
              backend = kvm as KvmBackend;
              backend.slots.setDirtyLog(true);
            });
          },
        }),
      },
    );
    expect(backend!.slots.readDirtyLog().filter((page) => page >= 0x3_0000)).toEqual([0x3_0000, 0x3_2000]);
    expect(backend!.slots.readDirtyLog()).toEqual([]);
    expect([0, 2]).toContain(vcpu.assisted);
    await vmm.dispose();
  });

  it('reaches devices', async () => {
    const log: string[] = [];
    const { vmm, vcpu, report } = await long(
      [...LOCK_CMPXCHG16B, HLT],
      { registers: { ...registers, rsi: BigInt(DEVICE), rax: 0x2_0000_0001n, rdx: 0x4_0000_0003n } },
      {
        plugin: definePlugin({
          name: 'device',
          uses: { mmio: MmioBusToken },
          apply(_host, { mmio }) {
            mmio.register(
              DEVICE,
              4096,
              {
                readMmio: (offset, size) => {
                  log.push(`read ${offset} ${size}`);
                  return offset / 4 + 1;
                },
                writeMmio: (offset, size, value) => {
                  log.push(`write ${offset} ${size} ${value.toString(16)}`);
                },
              },
              'device',
            );
          },
        }),
      },
    );
    expect(report.reason).toBe('halted');
    if (vcpu.assisted > 0) {
      expect(log.slice(0, 4)).toEqual(['read 0 4', 'read 4 4', 'read 8 4', 'read 12 4']);
      expect(log.filter((line) => line.startsWith('write'))).toEqual([
        'write 0 4 1111',
        'write 4 4 0',
        'write 8 4 2222',
        'write 12 4 0',
      ]);
      expect(vcpu.rflags & 0x40n).toBe(0x40n);
    }
    await vmm.dispose();
  });
});

describe.skipIf(!usable)('XSAVE and XRSTOR in ring 0', () => {
  it('keep x87 and SSE registers', async () => {
    // FLD1; MOVD XMM3, EDI; XSAVE; FNINIT; PXOR XMM3, XMM3; XRSTOR; FISTP WORD [RBP]; MOVD [RBP+4], XMM3
    const code = [
      0xd9,
      0xe8,
      0x66,
      0x0f,
      0x6e,
      0xdf,
      ...XSAVE,
      0xdb,
      0xe3,
      0x66,
      0x0f,
      0xef,
      0xdb,
      ...XRSTOR,
      0xdf,
      0x5d,
      0x00,
      0x66,
      0x0f,
      0x7e,
      0x5d,
      0x04,
      HLT,
    ];
    const { vmm, memory, report, vcpu } = await long(
      [0x0f, 0x01, 0xd0, ...code],
      { ...vectorState, registers: { rsi: 0x6000n, rbp: 0x5000n, rdi: 0x1234_5678n } },
      {
        plugin: {
          apply({ hooks, vcpus }) {
            hooks.loaded.tap({ name: 'xcr0', stage: Stage.Fallback }, () => {
              vcpus[0].xcr0 = 3n;
            });
          },
        },
      },
    );
    // XGETBV put XCR0 into EDX:EAX, the mask of what is saved
    expect([report.reason, vcpu.r15]).toEqual(['halted', 0n]);
    expect([memory.readU16(0x5000), memory.readU32(0x5004), memory.readU64(0x6000 + 512) & 3n]).toEqual([
      1,
      0x1234_5678,
      3n,
    ]);
    await vmm.dispose();
  });

  it('without CR4.OSXSAVE give #UD', async () => {
    const { vmm, vcpu } = await long([...XSAVE, HLT], { cr4: CR4_PAE | CR4_OSFXSR, registers: { rsi: 0x6000n } });
    expect(vcpu.r15).toBe(6n);
    await vmm.dispose();
  });
});

it.skipIf(!usable)('without the software processor the run ends with a report', async () => {
  const { vmm, report, vcpu } = await long(
    [...LOCK_CMPXCHG16B, HLT],
    { registers: { rsi: 0x5000n } },
    { backend: { assist: false } },
  );
  if (report.reason !== 'halted') {
    expect(report).toMatchObject({
      reason: 'backend-error',
      error: { code: 'KVM_INTERNAL_ERROR' },
      failure: { vcpu: { rip: '0x1000' } },
    });
    expect(report.why).toContain('f0 48 0f c7 0e');
  }
  expect(vcpu.assisted).toBe(0);
  await vmm.dispose();
});
