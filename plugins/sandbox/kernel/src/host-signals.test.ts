/** Signals that wait for the guest kernel. */
import { ArrayGuestMemory } from '@visorkit/machine';
import { expect, it } from 'vitest';
import { Bell, HostSignal } from './abi.js';
import { HostSignals } from './host-signals.js';

it('are put into the page, as many as it has room for, and the rest later', () => {
  const ram = new ArrayGuestMemory(8192),
    signals = new HostSignals(ram),
    bell = 4096;
  for (let i = 0; i < 70; i++) signals.send(2, 34, { code: -2, values: [BigInt(i), 5n] });
  signals.flush(bell);
  const count = (): number => ram.readU32(bell + Bell.HOST_SIGNAL_COUNT);
  expect(count()).toBe(HostSignal.MOST);
  const second = bell + Bell.HOST_SIGNALS + HostSignal.SIZE;
  expect([ram.readU32(second), ram.readU32(second + 8), ram.readU32(second + 12) | 0]).toEqual([2, 34, -2]);
  expect([ram.readU64(second + 16), ram.readU64(second + 24)]).toEqual([1n, 5n]);
  ram.writeU32(bell + Bell.HOST_SIGNAL_COUNT, 0);
  signals.flush(bell);
  expect(count()).toBe(6);
});

it('of the same kind are one, and groups are told from processes', () => {
  const ram = new ArrayGuestMemory(8192),
    signals = new HostSignals(ram);
  signals.send(2, 14, {});
  signals.send(2, 14, {});
  signals.send(3, 14, {});
  signals.sendGroup(9, 2);
  signals.flush(0);
  expect(ram.readU32(Bell.HOST_SIGNAL_COUNT)).toBe(3);
  const group = Bell.HOST_SIGNALS + 2 * HostSignal.SIZE;
  expect([ram.readU32(group), ram.readU32(group + 4), ram.readU32(group + 8)]).toEqual([0, 9, 2]);
});
