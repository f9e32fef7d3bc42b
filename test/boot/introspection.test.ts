/** Introspection of a booted Debian: its page tables read as the processor reads them, live and from what was saved. */
import { readSavedVm } from '@visorkit/project';
import { AddressSpace, LiveMemory, SavedVmMemory } from '@visorkit/vmi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootedDebian, bootedOf } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, machineOf, titled } from './boots.js';
import type { Machine } from './boots.js';

const found = await findDebianGuest('amd64');
const KERNEL = 0xffff_ffff_8000_0000n;

describe.skipIf(found.missing !== '')(titled('Introspection of Debian', found), () => {
  let machine: Machine, live: LiveMemory, saved: SavedVmMemory, space: AddressSpace;
  beforeAll(async () => {
    const file = await readSavedVm(await bootedDebian(found.value));
    machine = await machineOf({ ...bootedOf(found.value), typed: [':'] });
    await machine.vmm.restore(file);
    live = new LiveMemory(machine.vmm.memory);
    saved = new SavedVmMemory(file, live.ranges);
    space = AddressSpace.of(live, machine.vmm.vcpus[0]);
  }, BOOT_TIMEOUT);
  afterAll(async () => {
    await machine?.[Symbol.asyncDispose]();
  });

  it('leads where the processor is led, at both ends of every range, and just beyond', () => {
    const [vcpu] = machine.vmm.vcpus;
    const ranges = [...space.ranges()];
    expect(ranges.length).toBeGreaterThan(100);
    let checked = 0;
    for (const { linear, physical, length } of ranges) {
      const last = linear + BigInt(length) - 1n;
      expect([vcpu.translate(linear, 'probe'), vcpu.translate(last, 'probe')]).toEqual([
        physical,
        physical + length - 1,
      ]);
      for (const beside of [linear - 1n, last + 1n])
        expect(space.translate(beside) ?? -1).toBe(vcpu.translate(BigInt.asUintN(64, beside), 'probe'));
      checked++;
    }
    expect(checked).toBe(ranges.length);
  });

  it('finds the banner of the kernel, the same live and saved', () => {
    const other = AddressSpace.of(saved, machine.vmm.vcpus[0]);
    const text: string[] = [];
    for (const { linear, length, rights } of space.ranges(KERNEL)) {
      if (rights.execute || rights.write) continue;
      const bytes = space.bytes(linear, length);
      expect(Buffer.compare(other.bytes(linear, length), bytes)).toBe(0);
      const at = Buffer.from(bytes).indexOf('Linux version 6.');
      if (at >= 0) text.push(space.text(linear + BigInt(at)));
    }
    expect(text).toContainEqual(
      expect.stringMatching(/^Linux version 6\.\S+-cloud-amd64 \(debian-kernel@lists\.debian\.org\) .*SMP.*\n$/),
    );
  });

  it('sees what the guest writes, and the guest sees what is written', async () => {
    const words = await scan('kept by the shell');
    expect(words).toEqual([]);
    machine.input.push(Buffer.from("x='kept by the sh''ell'\n"));
    await machine.vmm.run({ maxInstructions: 20_000_000 });
    live.advance();
    const places = await scan('kept by the shell');
    expect(places.length).toBeGreaterThan(0);
    for (const place of places) live.write(place, Buffer.from('KEPT'));
    machine.input.push(Buffer.from('echo $x\n'));
    await machine.vmm.run({ maxInstructions: 20_000_000 });
    expect(machine.console.text).toContain('KEPT by the shell');
  });

  /** Physical addresses of a text. */
  function scan(text: string): number[] {
    const places: number[] = [];
    for (const { start, end } of live.ranges) {
      const bytes = new Uint8Array(end - start);
      live.read(start, bytes);
      const buffer = Buffer.from(bytes.buffer);
      for (let at = buffer.indexOf(text); at >= 0; at = buffer.indexOf(text, at + 1)) places.push(start + at);
    }
    return places;
  }
});
