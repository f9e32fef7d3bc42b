/** Introspection of a booted Debian: its page tables read as the processor reads them, live and from what was saved. */
import { createHash } from 'node:crypto';
import { LinuxIntrospectionToken, LinuxKernel, osLinux } from '@visorkit/os-linux';
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
    machine = await machineOf({ ...bootedOf(found.value), typed: [':'], plugins: [osLinux()] });
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

  describe('the kernel, of which nothing was told', () => {
    let kernel: LinuxKernel;
    beforeAll(() => {
      kernel = machine.vmm.services.get(LinuxIntrospectionToken)!.find()!;
    });

    it('is the one that the guest says', async () => {
      expect(kernel.release).toBe(await answer('uname -r'));
      expect(kernel.space.mode).toBe(space.mode);
      expect(LinuxKernel.find(saved)).toMatchObject({ release: kernel.release });
    });

    it('has the symbols that it shows its own users', async () => {
      const some = 20_000; // the guest's own digest of all of them takes it a while
      const text = kernel.symbols
        .slice(0, some)
        .map(({ address, type, name }) => `${address.toString(16).padStart(16, '0')} ${type} ${name}\n`)
        .join('');
      const digest = createHash('md5').update(text).digest('hex');
      expect(kernel.symbols.length).toBeGreaterThan(80_000);
      expect(await answer(`head -n ${some} /proc/kallsyms | md5sum`)).toBe(`${digest}  -`);
    });

    it('has types with fields where the compiler put them', () => {
      expect(kernel.types.sizeOf('list_head')).toBe(16);
      expect(kernel.types.field('list_head', 'prev')).toEqual({ offset: 8, size: 8 });
      expect(kernel.types.field('task_struct', 'comm')).toMatchObject({ size: 16 });
      expect(kernel.types.field('task_struct', 'nothing')).toBeUndefined();
      // In an anonymous union; and of a named member's structure only by its path
      expect(kernel.types.field('page', 'mapping')).toEqual({ offset: 24, size: 8 });
      expect(kernel.types.field('task_struct', 'tasks.next')).toEqual({
        offset: kernel.offset('task_struct', 'tasks'),
        size: 8,
      });
      expect(kernel.types.field('task_struct', 'next')).toBeUndefined();
      expect(kernel.types.field('task_struct', 'sched_contributes_to_load')?.bits).toMatchObject({ size: 1 });
      expect(() => kernel.offset('task_struct', 'nothing')).toThrow(/no field "nothing" in struct task_struct/);
    });

    it('runs the processes that the guest sees, entry by entry', async () => {
      // Builtins of the shell alone: no process comes or goes meanwhile
      const seen = await answer(
        'for p in /proc/[0-9]*; do while read k v r; do case $k in Name:) n=$v;; Pid:) i=$v;; PPid:) f=$v;; Uid:) echo $i $f $v $n;; esac; done < $p/status; done',
      );
      const processes = [...kernel.processes()];
      // /proc shows whole names of kernel threads, and behind a dash or a plus sign what a worker last did
      const plain = (name: string): string => name.replace(/^(kworker\/[^-+]*)[-+].*/, '$1').slice(0, 15);
      expect(
        processes
          .filter(({ pid }) => pid !== 0)
          .map(({ pid, ppid, uid, command }) => `${pid} ${ppid} ${uid} ${plain(command)}`)
          .sort(),
      ).toEqual(
        seen
          .split(/\r?\n/)
          .map((line) => line.replace(/\S+$/, plain))
          .sort(),
      );
      expect(processes.find(({ command }) => command === 'sh')).toMatchObject({ kernelThread: false });
      expect(processes.find(({ command }) => command === 'kthreadd')).toMatchObject({
        pid: 2,
        kernelThread: true,
        root: undefined,
      });
      // A process's own tables lead where the processor was led in it
      const [vcpu] = machine.vmm.vcpus;
      const current = Number(vcpu.getControlRegister(3) & ~0xfffn);
      expect(processes.map(({ root }) => root)).toContain(current);
    });
  });

  /** What the shell writes for a line that is typed. */
  async function answer(line: string): Promise<string> {
    const before = machine.console.text.length;
    machine.input.push(Buffer.from(`echo be""gin; ${line}; echo do""ne\n`));
    while (!machine.console.text.slice(before).includes('done\r\n')) {
      const { reason } = await machine.vmm.run({ maxInstructions: 20_000_000 });
      expect(reason).toBe('max-instructions');
    }
    live.advance();
    const text = machine.console.text.slice(before);
    return text.slice(text.indexOf('begin\r\n') + 7, text.indexOf('done\r\n')).trimEnd();
  }

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
