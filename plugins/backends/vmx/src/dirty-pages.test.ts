/** Which pages the guest has written, by dirty flags and by the processor's log. */
import { describe, expect, it } from 'vitest';
import { PageRights } from '@visorkit/machine';
import type { DirtyTracking } from '@visorkit/machine';
import { VmcsField, controlBits } from '@visorkit/x86';
import { BareMachine } from '../test/bare-machine.js';

/** Mapped by a 4 KiB page, and by a large one. */
const PAGE = 0x10_0000;
const LARGE = 0x80_3000;
const needs = { secondary: ['enable-vm-functions'] };
/** Pages of the data the tests write: page tables and the stack are reported too. */
const data = (pages: readonly number[]): number[] => pages.filter((gpa) => gpa >= 0x4_0000);

describe.each<DirtyTracking>(['flags', 'log'])('written pages by %s', (how) => {
  it('are reported at each harvest anew', async () => {
    const vm = await BareMachine.create(),
      { views } = vm,
      { base } = views;
    for (const page of [PAGE, LARGE]) vm.write(page, 1); // in use before
    views.trackDirty(how);
    expect(data(base.dirtyPages())).toEqual([]);
    for (let n = 0; n < 19; n++) {
      vm.write(PAGE, n);
      vm.write(LARGE, n);
      vm.read(LARGE + 4096);
      expect(data(base.dirtyPages())).toEqual([PAGE, LARGE]);
    }
    expect(data(base.dirtyPages())).toEqual([]);
    for (let n = 0; n < 3; n++) for (const page of [LARGE, PAGE]) vm.write(page, n);
    expect(data(base.dirtyPages())).toEqual([PAGE, LARGE]);
    views.trackDirty('off');
    vm.write(PAGE, 1);
    expect(() => base.dirtyPages()).toThrow(expect.objectContaining({ code: 'DIRTY_LOG_OFF' }));
    views.trackDirty(how);
    expect(data(base.dirtyPages())).toEqual([]);
  });

  it('are all there, though they are more than a log holds', async () => {
    const vm = await BareMachine.create({ memory: 16 << 20 }),
      { base } = vm.views,
      pages = Array.from({ length: 1500 }, (_, n) => 0x80_0000 + n * 4096);
    vm.views.trackDirty(how);
    for (let round = 0; round < 3; round++) {
      for (const page of pages) vm.write(page, round);
      expect(data(base.dirtyPages())).toEqual(pages);
      vm.write(pages[7], 1);
      expect(data(base.dirtyPages())).toEqual([pages[7]]);
    }
  });

  it('are those of each view, and of all vCPUs in it', async () => {
    const vm = await BareMachine.create({ cpus: 2, needs }),
      { views } = vm,
      { base } = views,
      view = views.create();
    views.trackDirty(how);
    views.use(view, vm.vcpus[1]);
    vm.write(PAGE, 1, 0);
    vm.write(LARGE, 1, 1);
    vm.write(PAGE + 4096, 1, 0);
    expect([data(view.dirtyPages()), data(base.dirtyPages())]).toEqual([[LARGE], [PAGE, PAGE + 4096]]);
    vm.write(PAGE, 1, 0);
    views.use(view, vm.vcpus[0]); // written in the view that it leaves
    vm.write(LARGE, 1, 0);
    vm.write(LARGE, 2, 1);
    expect([data(base.dirtyPages()), data(view.dirtyPages())]).toEqual([[PAGE], [LARGE]]);
    vm.write(PAGE, 1, 0);
    expect(data(views.create(view).dirtyPages())).toEqual([]); // a new view has written nothing
    expect(data(view.dirtyPages())).toEqual([PAGE]);
  });

  it('are those of the view that VMFUNC chose', async () => {
    const vm = await BareMachine.create({ needs }),
      { views } = vm,
      view = views.create();
    views.allowVmfunc();
    views.trackDirty(how);
    vm.write(PAGE, 1);
    vm.vmfunc(1);
    vm.write(LARGE, 1);
    vm.vmfunc(0);
    vm.write(PAGE + 4096, 1);
    expect([data(view.dirtyPages()), data(views.base.dirtyPages())]).toEqual([[LARGE], [PAGE, PAGE + 4096]]);
  });

  it('can lose their rights', async () => {
    const vm = await BareMachine.create(),
      { base } = vm.views;
    vm.views.trackDirty(how);
    vm.write(PAGE, 1);
    base.protect(PAGE, PageRights.NONE);
    expect(vm.write(PAGE, 2)).toBe('write 100000');
    expect(data(base.dirtyPages())).toEqual([PAGE]);
    base.protect(PAGE, PageRights.RWX);
    expect(data(base.dirtyPages())).toEqual([]);
    vm.write(PAGE, 3);
    expect(data(base.dirtyPages())).toEqual([PAGE]);
  });

  it('are reported after a restore as they would have been', async () => {
    const first = await BareMachine.create({ cpus: 2 }),
      second = await BareMachine.create({ cpus: 2 });
    first.views.trackDirty(how);
    first.write(PAGE, 1);
    first.write(LARGE, 1, 1);
    second.restore(first.save());
    for (const vm of [first, second]) {
      expect(data(vm.views.base.dirtyPages())).toEqual([PAGE, LARGE]);
      vm.write(PAGE, 1, 1);
      vm.write(LARGE, 1, 0);
      expect(data(vm.views.base.dirtyPages())).toEqual([PAGE, LARGE]);
    }
  });

  it('are the same for the same guest', async () => {
    const writes = Array.from({ length: 700 }, (_, n) => 0x80_0000 + ((n * 7919) % 1024) * 4096),
      harvests: number[][][] = [];
    for (const kind of [how, 'flags'] as const) {
      const vm = await BareMachine.create();
      vm.views.trackDirty(kind);
      harvests.push([]);
      writes.forEach((gpa, n) => {
        vm.write(gpa, 1);
        if (n % 60 === 59) harvests.at(-1)!.push(vm.views.base.dirtyPages());
      });
    }
    expect(harvests[0]).toEqual(harvests[1]);
    expect(harvests[0]).toHaveLength(11);
  });
});

describe('a full log', () => {
  it('is emptied in the middle of the delivery of an interrupt, which comes all the same, once', async () => {
    const vm = await BareMachine.create(),
      [vcpu] = vm.vcpus,
      IDT = 0x11_0000,
      GDT = 0x11_1000,
      HANDLER = 0x11_2000;
    vm.memory.writeU64(GDT + 8, 0x00af_9b00_0000_ffffn);
    vm.memory.writeU64(
      IDT + 0x40 * 16,
      (BigInt(HANDLER >>> 16) << 48n) | (0x8en << 40n) | (8n << 16n) | BigInt(HANDLER & 0xffff),
    );
    // MOV AL, [100000H]; INC AL; MOV [100000H], AL; VMCALL
    vm.memory.write(
      HANDLER,
      Uint8Array.of(0x8a, 0x04, 0x25, 0, 0, 0x10, 0, 0xfe, 0xc0, 0x88, 0x04, 0x25, 0, 0, 0x10, 0, 0x0f, 0x01, 0xc1),
    );
    vcpu.idtr = { base: BigInt(IDT), limit: 4095 };
    vcpu.gdtr = { base: BigInt(GDT), limit: 0xf };
    vm.views.trackDirty('log');
    vcpu.vmcs.write32(VmcsField.PML_INDEX, 0xffff);
    vcpu.rflags = 0x202n;
    vcpu.injectInterrupt(0x40);
    expect(vm.read(PAGE)).toBe(1);
    expect(vcpu.vmcs.read32(VmcsField.PML_INDEX)).toBeLessThan(511);
    expect(vm.views.base.dirtyPages()).toEqual(expect.arrayContaining([0x7000, PAGE])); // the stack below 8000H
  });
});

describe('looking for written pages', () => {
  it('can change its way', async () => {
    const vm = await BareMachine.create(),
      { views } = vm;
    for (const how of ['log', 'flags', 'log', 'off', 'log'] as const) {
      views.trackDirty(how);
      vm.write(PAGE, 1);
      if (how !== 'off') expect(data(views.base.dirtyPages())).toEqual([PAGE]);
    }
    expect(() => views.trackDirty('always' as 'log')).toThrow(expect.objectContaining({ code: 'VIEW_TRACKING' }));
  });

  it('does not take the log from a plugin that keeps its own', async () => {
    const vm = await BareMachine.create({ needs: { secondary: ['enable-pml'] } });
    expect(() => vm.views.trackDirty('log')).toThrow(/enable-pml/);
    vm.views.trackDirty('flags');
    const { vmcs } = vm.vcpus[0];
    expect(vmcs.read32(VmcsField.SECONDARY_CONTROLS) & controlBits('secondary', ['enable-pml'])).not.toBe(0);
  });
});
