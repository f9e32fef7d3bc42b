/** Controls held while the VM lives: counted by holder and vCPU, with the sentences of composition. */
import { describe, expect, it } from 'vitest';
import type { ControlNeeds, MergedControls, Plugin, PluginHost, VisorkitError } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { FakeBackend } from '@visorkit/testkit';

/** A VM of two vCPUs with plugins that need what is given, and the host of each. */
async function machine(needs: Record<string, ControlNeeds>) {
  const backend = new FakeBackend();
  const hosts: Record<string, PluginHost> = {};
  const plugins = Object.entries(needs).map(
    ([name, need]): Plugin => ({ name, needs: need, apply: (host) => void (hosts[name] = host) }),
  );
  const vmm = compose({ backend, memory: 4096, cpus: 2, plugins });
  await vmm.create();
  const controls = (vcpu: number): MergedControls => backend.vcpus[vcpu].controls ?? backend.opened!.controls;
  return { vmm, hosts, backend, controls, primary: (vcpu: number) => [...controls(vcpu).primary].sort() };
}

function conflictsOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    expect((error as VisorkitError).code).toBe('CONTROL_CONFLICT');
    return (error as VisorkitError).details?.conflicts;
  }
  throw new Error('nothing was thrown');
}

describe('held controls', () => {
  it('hold on one vCPU or on all, until they are released', async () => {
    const { hosts, primary, vmm } = await machine({ a: { primary: ['hlt-exiting'] } });
    const one = hosts.a.controls.hold({ primary: ['rdtsc-exiting'] }, vmm.vcpus[1]);
    expect([primary(0), primary(1)]).toEqual([['hlt-exiting'], ['hlt-exiting', 'rdtsc-exiting']]);
    const all = hosts.a.controls.hold({ primary: ['rdtsc-exiting', 'mov-dr-exiting'] });
    expect(primary(0)).toEqual(['hlt-exiting', 'mov-dr-exiting', 'rdtsc-exiting']);
    one();
    one();
    expect(primary(1)).toEqual(['hlt-exiting', 'mov-dr-exiting', 'rdtsc-exiting']);
    all();
    expect([primary(0), primary(1)]).toEqual([['hlt-exiting'], ['hlt-exiting']]);
    await vmm.dispose();
  });

  it('are counted: the last holder lets go', async () => {
    const { hosts, controls, primary, vmm } = await machine({ a: {}, b: {} });
    const needs: ControlNeeds = {
      primary: ['rdtsc-exiting'],
      exceptions: [14],
      msrs: { read: [0x10], write: [[0x20, 0x2f]] },
      ports: [0x80],
    };
    const release = [hosts.a.controls.hold(needs), hosts.a.controls.hold(needs), hosts.b.controls.hold(needs)];
    for (const undo of release) {
      expect(primary(0)).toEqual(['rdtsc-exiting']);
      const { exceptionBitmap, msrRead, msrWrite, ports } = controls(0);
      expect([exceptionBitmap, msrRead[0], msrWrite[0], ports[0]]).toEqual([
        1 << 14,
        [0x10, 0x10],
        [0x20, 0x2f],
        [0x80, 0x80],
      ]);
      undo();
    }
    const { exceptionBitmap, msrRead, msrWrite, ports } = controls(0);
    expect([primary(0), exceptionBitmap, msrRead, msrWrite, ports]).toEqual([[], 0, [], [], []]);
    await vmm.dispose();
  });

  it('refuse what stands against them, in the words of composition, and then change nothing', async () => {
    const { hosts, backend, primary, vmm } = await machine({ a: {}, quick: { clear: { primary: ['hlt-exiting'] } } });
    const { hold } = hosts.a.controls;
    expect(conflictsOf(() => hold({ primary: ['rdtsc-exiting', 'hlt-exiting'], exceptions: [40] }))).toEqual([
      'a asks for exits of exception vector 40; vectors are 0 to 31',
      'a needs the primary control "hlt-exiting" set, quick needs it clear',
    ]);
    expect(conflictsOf(() => hold({ primary: ['monitor-trap-flag'] }))).toEqual([
      'a needs the primary control "monitor-trap-flag", which backend fake does not have',
    ]);
    expect(primary(0)).toEqual([]);
    expect(backend.vcpus[0].log).not.toContain('controls');
    const clear = hold({ clear: { primary: ['rdtsc-exiting'] } }, vmm.vcpus[0]);
    const { hold: other } = hosts.quick.controls;
    expect(conflictsOf(() => other({ primary: ['rdtsc-exiting'] }))).toEqual([
      'quick needs the primary control "rdtsc-exiting" set, a needs it clear',
    ]);
    other({ primary: ['rdtsc-exiting'] }, vmm.vcpus[1])();
    clear();
    other({ primary: ['rdtsc-exiting'] });
    expect(primary(0)).toEqual(['rdtsc-exiting']);
    expect(() => hold({}, { index: 2 })).toThrow('There is no vCPU 2; this VM has 2.');
    await vmm.dispose();
  });
});
