/** Views of memory on pages that the guest is using: what a view says holds at the next access. */
import { describe, expect, it } from 'vitest';
import { PageRights } from '@visorkit/machine';
import { EptBuilder, VmcsField, eptPointer } from '@visorkit/x86';
import { ALIAS, BareMachine, DIRECTORY, PAGE_TABLE } from '../test/bare-machine.js';

const PAGE = 0x10_0000;
const OTHER = 0x10_1000;
/** Mapped by a page of 2 MiB. */
const LARGE = 0x80_0000;
const { NONE, READ, EXECUTE, RW, RX, RWX } = PageRights;
const decoyOf = (byte: number): Uint8Array => new Uint8Array(4096).fill(byte);
const needs = { secondary: ['enable-vm-functions'] };

describe('rights of a page in use', () => {
  it.each([
    ['by a 4 KiB page', PAGE],
    ['by a 2 MiB page', LARGE],
    ['by both', PAGE + ALIAS],
  ])('hold for data, mapped %s', async (_name, linear) => {
    const vm = await BareMachine.create(),
      gpa = linear % ALIAS,
      { base } = vm.views,
      page = gpa.toString(16);
    for (let round = 0; round < 3; round++) {
      expect(vm.write(linear, 7)).toBe(7);
      expect(vm.read(linear)).toBe(7);
      expect(vm.read(gpa)).toBe(7);
      base.protect(gpa, RX);
      expect([vm.read(linear), vm.write(linear, 8), vm.write(gpa, 8)]).toEqual([7, `write ${page}`, `write ${page}`]);
      base.protect(gpa, NONE);
      expect([vm.read(linear), vm.read(gpa), vm.write(linear, 8)]).toEqual([
        `read ${page}`,
        `read ${page}`,
        `write ${page}`,
      ]);
      expect(vm.read(gpa + 4096)).toBe(0);
      base.protect(gpa, RWX);
    }
  });

  it('hold for running code', async () => {
    const vm = await BareMachine.create();
    vm.memory.write(PAGE, BareMachine.codeOf(1));
    for (let round = 0; round < 3; round++) {
      expect([vm.call(PAGE), vm.call(PAGE + ALIAS)]).toEqual([1, 1]);
      vm.views.base.protect(PAGE, RW);
      expect([vm.call(PAGE), vm.call(PAGE + ALIAS), vm.read(PAGE)]).toEqual([
        `execute ${PAGE.toString(16)}`,
        `execute ${PAGE.toString(16)}`,
        0xb0,
      ]);
      vm.views.base.protect(PAGE, EXECUTE);
      expect([vm.call(PAGE), vm.read(PAGE)]).toEqual([1, `read ${PAGE.toString(16)}`]);
      vm.views.base.restore(PAGE);
    }
  });

  it('hold for an instruction that reaches into the page from the one before', async () => {
    const vm = await BareMachine.create();
    vm.memory.write(OTHER - 1, BareMachine.codeOf(6)); // MOV AL, 6 lies across
    expect(vm.call(OTHER - 1)).toBe(6);
    vm.views.base.protect(OTHER, RW);
    expect(vm.call(OTHER - 1)).toBe(`execute ${OTHER.toString(16)}`);
    vm.views.base.protect(OTHER, RWX);
    expect(vm.call(OTHER - 1)).toBe(6);
    vm.views.base.protect(OTHER - 4096, RW);
    expect(vm.call(OTHER - 1)).toBe(`execute ${PAGE.toString(16)}`);
  });

  it('hold for the code that changes the view', async () => {
    const vm = await BareMachine.create({ needs }),
      view = vm.views.create();
    vm.views.allowVmfunc();
    view.protect(0x1000, RW); // where the guest's own code is
    expect([vm.vmfunc(0), vm.vmfunc(1)]).toEqual([0, 'execute 1000']);
  });

  it('hold for page tables of the guest', async () => {
    const vm = await BareMachine.create();
    expect(vm.read(PAGE)).toBe(0);
    vm.views.base.protect(PAGE_TABLE, NONE);
    expect(vm.read(PAGE)).toBe(`walk ${PAGE_TABLE.toString(16)}`);
    vm.views.base.restore(PAGE_TABLE);
    vm.views.base.protect(DIRECTORY, NONE);
    expect([vm.read(PAGE), vm.read(LARGE)]).toEqual([
      `walk ${DIRECTORY.toString(16)}`,
      `walk ${DIRECTORY.toString(16)}`,
    ]);
    vm.views.base.restore(DIRECTORY);
    expect(vm.read(PAGE)).toBe(0);
    for (const page of [OTHER, PAGE_TABLE]) vm.write(page, 3); // accessed and dirty flags of the guest's entries are set
    // a page table may be watched for writes without a walk being seen, as long as there are no dirty flags
    vm.views.base.protect(PAGE_TABLE, RX);
    expect([vm.read(PAGE), vm.read(OTHER), vm.write(PAGE_TABLE, 3)]).toEqual([
      0,
      3,
      `write ${PAGE_TABLE.toString(16)}`,
    ]);
  });

  it('cost that page its translations, and no other', async () => {
    const vm = await BareMachine.create(),
      pages = Array.from({ length: 100 }, (_, n) => OTHER + n * 4096);
    for (const page of [PAGE, ...pages]) vm.read(page);
    for (let round = 0; round < 20; round++) {
      vm.views.base.protect(PAGE, round % 2 === 0 ? NONE : RWX);
      const before = [vm.counter(0), vm.counter(1)];
      for (const page of pages) expect(vm.read(page)).toBe(0);
      expect([vm.counter(0), vm.counter(1)]).toEqual(before);
    }
  });

  it('are refused where no table can express them, and where nothing is', async () => {
    const { base } = (await BareMachine.create()).views;
    for (const rights of [2, 6, 8, -1, 1.5]) expect(() => base.protect(PAGE, rights)).toThrow(/write needs read/);
    for (const gpa of [0xd000_0000, -4096, 2 ** 48, 0.5, NaN])
      for (const act of [
        () => base.protect(gpa, RX),
        () => base.restore(gpa),
        () => base.hide(gpa, decoyOf(1)),
        () => base.remap(gpa, PAGE),
      ])
        expect(act).toThrow(expect.objectContaining({ code: 'VIEW_UNMAPPED' }));
    expect([base.rights(0xd000_0000), base.frame(0xd000_0000)]).toEqual([NONE, undefined]);
    expect(() => base.hide(PAGE, new Uint8Array(4095))).toThrow(expect.objectContaining({ code: 'VIEW_DECOY_SIZE' }));
  });

  it('hold for read-only memory, in every view', async () => {
    const vm = await BareMachine.create(),
      other = vm.views.create();
    vm.backend.mapRom(0x300_0000, decoyOf(0x77));
    for (const view of [vm.views.base, other]) {
      vm.views.use(view);
      expect([vm.read(0x300_0000), vm.write(0x300_0000, 1), vm.read(0x300_0000)]).toEqual([0x77, 1, 0x77]);
      view.protect(0x300_0000, NONE);
      expect(vm.read(0x300_0000)).toBe('read 3000000');
      view.restore(0x300_0000);
      expect(view.rights(0x300_0000)).toBe(RX);
    }
  });
});

describe('a hidden page', () => {
  it('is read as its decoy and runs as it is, though it was read before', async () => {
    const vm = await BareMachine.create(),
      { base } = vm.views;
    vm.memory.write(PAGE, BareMachine.codeOf(5));
    expect([vm.read(PAGE), vm.call(PAGE)]).toEqual([0xb0, 5]);
    base.hide(PAGE, decoyOf(0xcc));
    expect([vm.read(PAGE), vm.read(PAGE + ALIAS + 9), vm.call(PAGE), vm.write(PAGE, 1)]).toEqual([
      0xcc,
      0xcc,
      5,
      `write ${PAGE.toString(16)}`,
    ]);
    expect(base.rights(PAGE)).toBe(EXECUTE);
    base.protect(PAGE, NONE); // hidden still
    expect([vm.read(PAGE), vm.call(PAGE)]).toEqual([0xcc, `execute ${PAGE.toString(16)}`]);
    base.protect(PAGE, RX);
    base.protect(PAGE, EXECUTE); // the decoy is gone
    expect(vm.read(PAGE)).toBe(`read ${PAGE.toString(16)}`);
    base.hide(PAGE, decoyOf(0xdd));
    base.restore(PAGE);
    expect([vm.read(PAGE), base.rights(PAGE)]).toEqual([0xb0, RWX]);
    const decoy = Buffer.alloc(4096, 0xee);
    base.hide(PAGE, decoy);
    decoy.fill(0);
    expect(vm.read(PAGE)).toBe(0xee); // the view has its own copy
  });

  it('answers for the view that the processor is in, VMFUNC or not', async () => {
    const vm = await BareMachine.create({ needs }),
      { views } = vm,
      [cpu] = vm.vcpus;
    const first = views.create(),
      second = views.create();
    first.hide(PAGE, decoyOf(0x11));
    second.hide(PAGE, decoyOf(0x22));
    views.allowVmfunc();
    const third = views.create(second); // the list has those that are made later
    third.hide(OTHER, decoyOf(0x33));
    const seen = [vm.read(PAGE)];
    for (const view of [1, 2, 3, 0, 1]) {
      vm.vmfunc(view);
      seen.push(vm.read(PAGE), views.current(cpu).index);
    }
    expect(seen).toEqual([0, 0x11, 1, 0x22, 2, 0x22, 3, 0, 0, 0x11, 1]);
    vm.vmfunc(3);
    expect(vm.read(OTHER)).toBe(0x33);
    views.use(views.base);
    views.destroy(third);
    expect(() => vm.vmfunc(3)).toThrow('exit 59'); // not in the list any more
  });

  it('does not lose an event that is delivered through it', async () => {
    const vm = await BareMachine.create(),
      IDT = 0x11_0000,
      GDT = 0x11_1000,
      HANDLER = 0x11_2000,
      gate = (8n << 16n) | (0x8en << 40n) | (BigInt(HANDLER) & 0xffffn) | ((BigInt(HANDLER) >> 16n) << 48n),
      [vcpu] = vm.vcpus;
    const idt = new Uint8Array(4096);
    new DataView(idt.buffer).setBigUint64(0x40 * 16, gate, true);
    vm.memory.writeU64(GDT + 8, 0x00af_9b00_0000_ffffn);
    vm.memory.write(HANDLER, Uint8Array.of(0xb0, 0x99, 0x0f, 0x01, 0xc1)); // MOV AL, 99H; VMCALL
    vcpu.idtr = { base: BigInt(IDT), limit: 4095 };
    vcpu.gdtr = { base: BigInt(GDT), limit: 0xf };
    vm.views.base.hide(IDT, idt);
    vcpu.rflags = 0x202n;
    vcpu.injectInterrupt(0x40);
    expect(vm.read(PAGE)).toBe(0x99);
  });
});

describe('a view', () => {
  it('begins equal to the one it is made from, and goes its own way', async () => {
    const vm = await BareMachine.create(),
      { views } = vm,
      { base } = views;
    vm.memory.writeU8(OTHER, 0x44);
    base.hide(PAGE, decoyOf(0xcc));
    base.remap(LARGE, OTHER);
    base.protect(OTHER, READ);
    const copy = views.create(),
      grandchild = views.create(copy);
    for (const view of [copy, grandchild, base]) {
      views.use(view);
      expect([vm.read(PAGE), vm.read(LARGE), vm.write(OTHER, 1)]).toEqual([0xcc, 0x44, `write ${OTHER.toString(16)}`]);
    }
    base.restore(PAGE);
    copy.restore(LARGE);
    expect(vm.read(PAGE)).toBe(0);
    views.use(copy);
    expect([vm.read(PAGE), vm.read(LARGE)]).toEqual([0xcc, 0]);
    views.use(grandchild);
    expect([vm.read(PAGE), vm.read(LARGE)]).toEqual([0xcc, 0x44]);
    expect(views.all.map(({ index }) => index)).toEqual([0, 1, 2]);
  });

  it('can be destroyed, but for the base view and those in use', async () => {
    const vm = await BareMachine.create(),
      { views } = vm,
      view = views.create(),
      used = vm.backend.engine.pages.used;
    views.use(view, vm.vcpus[0]);
    expect(() => views.destroy(view)).toThrow(/vCPU 0 is in view 1/);
    expect(() => views.destroy(views.base)).toThrow(expect.objectContaining({ code: 'VIEW_IN_USE' }));
    views.use(views.base);
    views.destroy(view);
    expect(view.destroyed).toBe(true);
    for (const act of [
      () => view.rights(PAGE),
      () => view.protect(PAGE, RX),
      () => view.dirtyPages(),
      () => views.use(view),
      () => views.create(view),
      () => views.destroy(view),
    ])
      expect(act).toThrow(expect.objectContaining({ code: 'VIEW_DESTROYED' }));
    for (let n = 0; n < 2000; n++) {
      const another = views.create();
      expect(another.index).toBe(1);
      views.destroy(another);
    }
    expect(vm.backend.engine.pages.used).toBe(used); // the memory of one does for all
    for (let n = 1; n < 512; n++) views.create();
    expect(() => views.create()).toThrow(expect.objectContaining({ code: 'VIEWS_FULL' }));
  });

  it("is one vCPU's alone, if need be", async () => {
    const vm = await BareMachine.create({ cpus: 3 }),
      { views, vcpus } = vm;
    const hidden = views.create(),
      closed = views.create();
    hidden.hide(PAGE, decoyOf(0x11));
    closed.protect(PAGE, NONE);
    const all = (): unknown[] => [0, 1, 2].map((cpu) => vm.read(PAGE, cpu));
    expect(all()).toEqual([0, 0, 0]);
    views.use(hidden, vcpus[1]);
    views.use(closed, vcpus[2]);
    for (let round = 0; round < 3; round++) expect(all()).toEqual([0, 0x11, `read ${PAGE.toString(16)}`]);
    expect(vcpus.map((vcpu) => views.current(vcpu))).toEqual([views.base, hidden, closed]);
    closed.hide(PAGE, decoyOf(0x22)); // while another vCPU is on the processor
    expect(all()).toEqual([0, 0x11, 0x22]);
    views.use(closed);
    expect(all()).toEqual([0x22, 0x22, 0x22]);
    expect(() => views.use(closed, { index: 3 })).toThrow(expect.objectContaining({ code: 'VIEW_VCPU' }));
  });

  it('is none that a plugin has given the vCPU by tables of its own', async () => {
    const vm = await BareMachine.create(),
      { views, backend } = vm,
      [vcpu] = vm.vcpus,
      view = views.create();
    views.base.hide(PAGE, decoyOf(0xcc));
    const nested = new EptBuilder({
      words: backend.engine.words,
      allocatePage: () => backend.engine.pages.allocatePage(),
      freePage: () => {},
    });
    nested.map(0, backend.engine.memory.regions[0].hostOffset, 16 << 20);
    nested.protect(PAGE, EXECUTE);
    vcpu.vmcs.write64(VmcsField.EPT_POINTER, eptPointer(nested.root));
    expect([vm.read(PAGE), vm.read(OTHER)]).toEqual([`read ${PAGE.toString(16)}`, 0]);
    views.trackDirty('flags');
    const other = await BareMachine.create();
    other.restore(vm.save());
    expect([other.read(PAGE), vm.read(PAGE)]).toEqual([`read ${PAGE.toString(16)}`, `read ${PAGE.toString(16)}`]);
    views.use(views.base);
    expect(vm.read(PAGE)).toBe(0xcc);
    views.use(view);
    expect(vm.read(PAGE)).toBe(0);
  });

  it('looks no other vCPU up to be changed', async () => {
    const vm = await BareMachine.create({ cpus: 4 }),
      { views, vcpus } = vm,
      other = views.create();
    vm.read(PAGE, 1);
    const before = vm.counter(0);
    for (let n = 0; n < 100; n++) {
      views.use(other, vcpus[2]);
      expect(views.current(vcpus[2])).toBe(other);
      views.use(views.base, vcpus[2]);
    }
    expect(vm.counter(0)).toBe(before);
  });

  it('tells its number to the guest that gets #VE', async () => {
    const vm = await BareMachine.create({ needs: { secondary: ['ept-violation-ve', 'enable-vm-functions'] } }),
      [vcpu] = vm.vcpus,
      AREA = vm.backend.engine.pages.allocatePage();
    vcpu.vmcs.write64(VmcsField.VIRTUALIZATION_EXCEPTION_INFORMATION, BigInt(AREA));
    const view = vm.views.create();
    view.protect(PAGE, NONE);
    vm.views.use(view);
    expect(vm.read(PAGE)).toBe(`read ${PAGE.toString(16)}`); // suppressed
    view.suppressVe(PAGE, false);
    vcpu.idtr = { base: 0n, limit: 0 };
    expect(() => vm.read(PAGE)).toThrow('exit 2'); // #VE finds no gate: triple fault
    const { words } = vm.backend.engine;
    expect([words[AREA >>> 2], words[(AREA + 32) >>> 2] & 0xffff]).toEqual([48, view.index]);
  });
});

describe('a remapped page', () => {
  it('shows another page for every kind of access, in this view', async () => {
    const vm = await BareMachine.create(),
      { views } = vm,
      { base } = views;
    vm.memory.write(PAGE, BareMachine.codeOf(1));
    vm.memory.write(OTHER, BareMachine.codeOf(2));
    const view = views.create();
    views.use(view);
    expect([vm.call(PAGE), vm.call(OTHER), vm.read(PAGE + 1)]).toEqual([1, 2, 1]);
    view.remap(PAGE, OTHER);
    expect([vm.call(PAGE), vm.read(PAGE + 1), vm.call(PAGE + ALIAS)]).toEqual([2, 2, 2]);
    expect([view.frame(PAGE), view.frame(OTHER), base.frame(PAGE), view.rights(PAGE)]).toEqual([
      OTHER,
      OTHER,
      PAGE,
      RWX,
    ]);
    vm.write(PAGE + 1, 9); // code that has run, by the other address
    expect([vm.call(OTHER), vm.call(PAGE), vm.memory.readU8(OTHER + 1)]).toEqual([9, 9, 9]);
    views.use(base);
    expect([vm.call(PAGE), vm.call(OTHER)]).toEqual([1, 9]);
    views.use(view);
    view.remap(PAGE, PAGE);
    expect([vm.call(PAGE), view.frame(PAGE)]).toEqual([1, PAGE]);
    expect(() => view.remap(PAGE, 0xd000_0000)).toThrow(expect.objectContaining({ code: 'VIEW_FRAME' }));
  });

  it('can be a page table of the guest', async () => {
    const vm = await BareMachine.create(),
      { views } = vm,
      { base } = views;
    vm.memory.writeU8(OTHER, 0x44);
    expect(vm.read(PAGE)).toBe(0);
    const table = views.allocatePage(PAGE_TABLE);
    table.write(Uint8Array.of(0x03, 0x10, 0x10), (PAGE >>> 12) * 8); // PAGE → OTHER
    base.remap(PAGE_TABLE, table);
    expect(vm.read(PAGE)).toBe(0x44);
    base.restore(PAGE_TABLE);
    expect(vm.read(PAGE)).toBe(0);
  });

  it("can be a page of the hypervisor's, which the host reads and writes", async () => {
    const vm = await BareMachine.create(),
      { views } = vm,
      view = views.create();
    vm.memory.write(PAGE, BareMachine.codeOf(1));
    const page = views.allocatePage(PAGE + 0x123);
    expect(page.read(0, 3)).toEqual(BareMachine.codeOf(1));
    views.use(view);
    expect(vm.call(PAGE)).toBe(1);
    page.write(BareMachine.codeOf(2));
    view.remap(PAGE, page);
    expect([vm.call(PAGE), view.frame(PAGE)]).toEqual([2, page]);
    page.write(Uint8Array.of(3), 1); // code that has run
    expect(vm.call(PAGE)).toBe(3);
    vm.write(PAGE + 4095, 0x55);
    expect([page.read(4095)[0], vm.memory.readU8(PAGE + 4095), vm.memory.readU8(PAGE + 1)]).toEqual([0x55, 0, 1]);

    const copy = views.create(view);
    expect(() => views.releasePage(page)).toThrow(/still shown in 2 places/);
    view.remap(PAGE, OTHER);
    views.destroy(copy);
    views.releasePage(page);
    for (const act of [
      () => page.read(),
      () => page.write(Uint8Array.of(1)),
      () => view.remap(PAGE, page),
      () => views.releasePage(page),
    ])
      expect(act).toThrow(expect.objectContaining({ code: 'SHADOW_PAGE_RELEASED' }));
    const again = views.allocatePage();
    expect(again.read()).toEqual(new Uint8Array(4096));
    again.write(BareMachine.codeOf(7)); // most likely where the other one was, whose code has been decoded
    view.remap(PAGE, again);
    expect(vm.call(PAGE)).toBe(7);
    for (const act of [
      () => again.read(4096, 1),
      () => again.write(new Uint8Array(2), 4095),
      () => again.read(-1, 1),
      () => again.read(0, NaN),
    ])
      expect(act).toThrow(expect.objectContaining({ code: 'SHADOW_PAGE_RANGE' }));
    expect(() => views.allocatePage(0xd000_0000)).toThrow(expect.objectContaining({ code: 'VIEW_UNMAPPED' }));
  });
});
