import { describe, expect, it } from 'vitest';
import { exits } from '@visorkit/exits';
import { compose, DeviceListToken } from '@visorkit/machine';
import { fakeBackend, hltExit, inExit, outExit, testDevice } from '@visorkit/testkit';
import dice, { Dice } from './dice.js';

const make = () => testDevice(({ lines, clock, timers }) => new Dice(lines, clock, timers));

describe('the device', () => {
  it('rolls for a millisecond, then raises its line until it is read', () => {
    const { device, bench } = make();
    device.writePort(0x5c0, 1, 6);
    bench.advance(999_999);
    expect([device.readPort(), bench.lineChanges]).toEqual([0, []]);
    bench.advance(1);
    expect(bench.lineChanges).toEqual(['+5']);
    const thrown = device.readPort();
    expect(thrown).toBeGreaterThanOrEqual(1);
    expect(thrown).toBeLessThanOrEqual(6);
    expect([device.readPort(), bench.lineChanges]).toEqual([0, ['+5', '-5']]);
  });

  it('goes on where it was saved', () => {
    const first = make();
    first.device.writePort(0x5c0, 1, 200);
    first.bench.advance(400_000);
    const state = JSON.parse(JSON.stringify(first.device.save()));
    first.bench.advance(600_000);
    const second = make();
    second.device.restore(state);
    second.bench.advance(599_999);
    expect(second.device.readPort()).toBe(0);
    second.bench.advance(1);
    expect(second.device.readPort()).toBe(first.device.readPort());
  });
});

describe('the plugin', () => {
  it('answers at its port; the guest sees the throw a millisecond later', async () => {
    const backend = fakeBackend([outExit(0x5c0, 6), inExit(0x5c0, 1, 1_000_000), hltExit(false)]);
    await using vmm = compose({ backend, memory: '64K', time: 'virtual', plugins: [...exits(), dice()] });
    expect((await vmm.run()).exits).toMatchObject({ io: 2 });
    expect(backend.vcpus[0].getRegister32(0)).toBeGreaterThan(0);
    expect(vmm.services.get(DeviceListToken).get('dice')?.save()).toMatchObject({ sides: 6, value: 0 });
  });

  it('says who has the port already', async () => {
    const twice = [dice(), { ...dice(), name: 'dice-2' }];
    await using vmm = compose({ backend: fakeBackend(), memory: '64K', plugins: twice });
    await expect(vmm.create()).rejects.toMatchObject({ cause: { code: 'PORT_CONFLICT' } });
  });
});
