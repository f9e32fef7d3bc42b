/** What plugins ask for while the VM lives, and who is told of saving and of other VMs. */
import { definePlugin, livingVms, watchVms } from '@visorkit/core';
import type { PluginHost } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { fakeBackend, hltExit } from '@visorkit/testkit';
import { describe, expect, it } from 'vitest';

/** A VM of one plugin, and its host. */
function vmOf(log: string[] = [], apply: (host: PluginHost) => void = () => {}) {
  let host!: PluginHost;
  const plugin = definePlugin({
    name: 'late',
    apply(given) {
      host = given;
      apply(given);
    },
  });
  const vmm = compose({
    backend: fakeBackend([hltExit(false)]),
    memory: '64K',
    alternatives: [{ name: 'able', capabilities: new Set(['ept.views']) }],
    log: (_level, source, message) => void log.push(`${source}: ${message}`),
    plugins: [plugin],
  });
  return { vmm, host: () => host };
}

describe('a capability that is asked for late', () => {
  it('is refused with what asks, what is lacking and who has it', async () => {
    const { vmm, host } = vmOf();
    await using _ = vmm;
    await vmm.create();
    const lacking = 'ept.views' as const;
    expect(() => host().require([lacking], 'a view of the page')).toThrow(
      'Backend fake lacks "ept.views" (asked for by a view of the page; backend able has it).',
    );
    expect(() => host().require([lacking])).toThrow(/asked for by late/);
    host().require([]);
  });
});

describe('bits of CR0 and CR4', () => {
  it('are refused where the backend does not give their exits', async () => {
    const { vmm, host } = vmOf();
    await using _ = vmm;
    await vmm.create();
    expect(() => host().controls.hold({ crBits: { cr0: 1n } })).toThrow(
      /late asks for exits of bits of CR0 or CR4, which backend fake does not give/,
    );
  });
});

describe('saving', () => {
  it('is told before and behind it, also when it is not possible', async () => {
    const told: string[] = [];
    const { vmm } = vmOf([], ({ hooks }) => {
      hooks.saving.tap(() => told.push('saving'));
      hooks.saved.tap(() => told.push('saved'));
    });
    await using _ = vmm;
    await vmm.load();
    try {
      vmm.save();
    } catch {
      // The backend may be unable to
    }
    expect(told).toEqual(['saving', 'saved']);
  });
});

describe('the VMs of a process', () => {
  it('are listed from creation to disposal; a watcher that throws is told in the log of that VM', async () => {
    const log: string[] = [];
    const seen: string[] = [];
    const undo = watchVms(({ kind, vm }) => void seen.push(`${kind} ${vm.id}`));
    const broken = watchVms(() => {
      throw new Error('no idea');
    });
    const { vmm } = vmOf(log);
    expect(livingVms()).not.toContain(vmm);
    await vmm.create();
    expect(livingVms()).toContain(vmm);
    await vmm.dispose();
    expect(livingVms()).not.toContain(vmm);
    undo();
    broken();
    expect(seen).toEqual([`created ${vmm.id}`, `disposed ${vmm.id}`]);
    expect(log.join('\n')).toMatch(/a watcher of VMs failed when VM \d+ was created: no idea/);
  });
});
