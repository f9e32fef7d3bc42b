/** Views against a model of them: whatever is done in whatever order, and after the VM was saved and restored elsewhere in the middle of it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PageRights } from '@visorkit/machine';
import { BareMachine } from '../test/bare-machine.js';

const FIRST = 0x100;
const PAGES = 6;
const CPUS = 2;
const gpaOf = (page: number): number => (FIRST + page) * 4096;
const needs = { secondary: ['enable-vm-functions'] };

/** What a page of a view is: which bytes (those of the machine's page, or of a shadow page behind them), rights, a decoy. */
interface ModelPage {
  frame: number;
  rights: number;
  decoy: number | undefined;
}
interface Model {
  /** First byte of each frame. */
  bytes: number[];
  /** undefined: destroyed. */
  views: (ModelPage[] | undefined)[];
  current: number[];
}

const page = fc.nat(PAGES - 1),
  cpu = fc.nat(CPUS - 1),
  view = fc.nat(3);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('read' as const, 'write' as const, 'call' as const), page, cpu }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('protect' as const),
      view,
      page,
      rights: fc.constantFrom(0, 1, 3, 4, 5, 7),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('remap' as const), view, page, to: page, shadow: fc.boolean() }),
  },
  fc.record({ kind: fc.constantFrom('hide' as const, 'restore' as const), view, page }),
  fc.record({ kind: fc.constant('create' as const), view }),
  fc.record({ kind: fc.constant('destroy' as const), view }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('use' as const, 'vmfunc' as const), view, cpu }) },
  fc.record({ kind: fc.constantFrom('move' as const, 'save' as const, 'rewind' as const) }),
);

/** Pages hold `B0 n C3`: read, n is what the second byte gives; called, what the code gives. */
async function play(steps: readonly Step[]): Promise<void> {
  let vm = await BareMachine.create({ cpus: CPUS, memory: 4 << 20, needs });
  let model: Model = { bytes: [], views: [[]], current: [0, 0] };
  vm.views.allowVmfunc();
  for (let n = 0; n < PAGES; n++) {
    vm.memory.write(gpaOf(n), BareMachine.codeOf(n + 1));
    model.bytes.push(n + 1);
    model.views[0]!.push({ frame: n, rights: PageRights.RWX, decoy: undefined });
  }
  let next = 0x40,
    earlier = { state: vm.save(), model: structuredClone(model) };
  for (const s of steps) {
    switch (s.kind) {
      case 'read':
      case 'write':
      case 'call': {
        const { frame, rights, decoy } = model.views[model.current[s.cpu]]![s.page],
          address = gpaOf(s.page),
          refused = (kind: string): string => `${kind} ${address.toString(16)}`;
        if (s.kind === 'read') {
          const wanted = (rights & 1) !== 0 ? model.bytes[frame] : (decoy ?? refused('read'));
          expect(vm.read(address + 1, s.cpu)).toBe(wanted);
        } else if (s.kind === 'call') {
          expect(vm.call(address, s.cpu)).toBe((rights & 4) !== 0 ? model.bytes[frame] : refused('execute'));
        } else {
          const value = (next = (next + 1) & 0xff);
          expect(vm.write(address + 1, value, s.cpu)).toBe((rights & 2) !== 0 ? value : refused('write'));
          if ((rights & 2) !== 0) model.bytes[frame] = value;
        }
        break;
      }
      case 'create': {
        const from = model.views[s.view];
        if (from === undefined || model.views.filter((v) => v !== undefined).length > 3) break;
        const { index } = vm.views.create(vm.views.all.find((v) => v.index === s.view));
        expect(model.views[index]).toBeUndefined();
        model.views[index] = from.map((entry) => ({ ...entry }));
        break;
      }
      case 'move': {
        const other = await BareMachine.create({ cpus: CPUS, memory: 4 << 20, needs });
        other.views.create().protect(gpaOf(0), 0); // it has views, too: they give way
        other.views.trackDirty('log');
        other.restore(vm.save());
        vm = other;
        break;
      }
      case 'save':
        earlier = { state: vm.save(), model: structuredClone(model) };
        break;
      case 'rewind': // in the VM that has run on since then
        vm.restore(earlier.state);
        model = structuredClone(earlier.model);
        break;
      default: {
        const own = vm.views.all.find((v) => v.index === s.view),
          entries = model.views[s.view];
        expect(own === undefined).toBe(entries === undefined);
        if (own === undefined || entries === undefined) break;
        if (s.kind === 'protect') {
          own.protect(gpaOf(s.page), s.rights);
          entries[s.page].rights = s.rights;
          if ((s.rights & 1) !== 0) entries[s.page].decoy = undefined;
        } else if (s.kind === 'remap') {
          if (s.shadow) {
            const shadow = vm.views.allocatePage(gpaOf(s.to));
            own.remap(gpaOf(s.page), shadow);
            entries[s.page].frame = model.bytes.push(model.bytes[s.to]) - 1;
          } else {
            own.remap(gpaOf(s.page), gpaOf(s.to));
            entries[s.page].frame = s.to;
          }
        } else if (s.kind === 'hide') {
          const decoy = (next = (next + 1) & 0xff);
          own.hide(gpaOf(s.page), new Uint8Array(4096).fill(decoy));
          Object.assign(entries[s.page], { decoy, rights: PageRights.EXECUTE });
        } else if (s.kind === 'restore') {
          own.restore(gpaOf(s.page));
          entries[s.page] = { frame: s.page, rights: PageRights.RWX, decoy: undefined };
        } else if (s.kind === 'destroy') {
          if (s.view === 0 || model.current.includes(s.view)) break;
          vm.views.destroy(own);
          model.views[s.view] = undefined;
        } else {
          if (s.kind === 'use') vm.views.use(own, vm.vcpus[s.cpu]);
          else expect(vm.vmfunc(s.view, s.cpu)).toBe(0);
          model.current[s.cpu] = s.view;
        }
      }
    }
    expect(vm.vcpus.map((vcpu) => vm.views.current(vcpu).index)).toEqual(model.current);
  }
  for (const v of vm.views.all)
    for (let n = 0; n < PAGES; n++) expect(v.rights(gpaOf(n))).toBe(model.views[v.index]![n].rights);
}
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

describe('views of memory', () => {
  it('are what was made of them, in any order, here and after a restore', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), play), { numRuns: 120 });
  }, 60_000);

  it('keep their objects in a restore, and those that were not there go', async () => {
    const saved = await BareMachine.create();
    const view = saved.views.create();
    view.remap(gpaOf(0), saved.views.allocatePage());
    const state = saved.save(),
      vm = await BareMachine.create();
    const [first, second] = [vm.views.create(), vm.views.create()],
      extra = [1, 2, 3].map(() => vm.views.allocatePage());
    second.remap(gpaOf(1), extra[2]);
    vm.restore(state);
    expect(vm.views.all).toEqual([vm.views.base, first]);
    expect(second.destroyed).toBe(true);
    expect(vm.views.pages.map(({ id }) => id)).toEqual([1]);
    expect(first.frame(gpaOf(0))).toBe(vm.views.pages[0]);
    expect(() => vm.views.releasePage(extra[2])).toThrow(expect.objectContaining({ code: 'SHADOW_PAGE_RELEASED' }));
    expect(vm.views.allocatePage().id).toBe(2);
    expect(structuredClone(vm.backend.saveState())).toMatchObject({ views: { views: [{ index: 0 }, { index: 1 }] } });
  });

  it('do not fit another VM', async () => {
    const state = (await BareMachine.create()).save();
    for (const other of [await BareMachine.create({ cpus: 2 }), await BareMachine.create({ memory: 8 << 20 })])
      expect(() => other.backend.restoreState(state.backend)).toThrow(expect.objectContaining({ code: 'VIEW_STATE' }));
  });
});
