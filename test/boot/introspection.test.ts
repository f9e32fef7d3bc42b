/** Introspection of a booted Debian: its page tables read as the processor reads them, live and from what was saved. */
import { createHash } from 'node:crypto';
import { LINUX_REPORTS, LinuxKernel, osLinux } from '@visorkit/os-linux';
import { readSavedVm } from '@visorkit/project';
import type { Vmi } from '@visorkit/vmi';
import {
  CodeNames,
  AddressSpace,
  LiveMemory,
  SavedVmMemory,
  VmiToken,
  introspection,
  toolOf,
  requireField,
} from '@visorkit/vmi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootedDebian, bootedOf } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, machineOf, titled } from './boots.js';
import type { Machine } from './boots.js';
import { Changed, placesOf } from './changed.js';
import * as says from './guest-says.js';
import { GuestShell } from './guest-says.js';
import { moduleFile, planted } from './planted.js';

const found = await findDebianGuest('amd64');
const KERNEL = 0xffff_ffff_8000_0000n;

describe.skipIf(found.missing !== '')(titled('Introspection of Debian', found), { timeout: BOOT_TIMEOUT }, () => {
  let machine: Machine, live: LiveMemory, saved: SavedVmMemory, space: AddressSpace, shell: GuestShell;
  const answer = (line: string): Promise<string> => shell.answer(line);
  beforeAll(async () => {
    const file = await readSavedVm(await bootedDebian(found.value));
    machine = await machineOf({ ...bootedOf(found.value), typed: [':'], plugins: [introspection(), osLinux()] });
    await machine.vmm.restore(file);
    live = new LiveMemory(machine.vmm.memory);
    saved = new SavedVmMemory(file, live.ranges);
    space = AddressSpace.of(live, machine.vmm.vcpus[0]);
    shell = new GuestShell(machine, live);
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
    const words = placesOf(live, 'kept by the shell');
    expect(words).toEqual([]);
    machine.input.push(Buffer.from("x='kept by the sh''ell'\n"));
    await machine.vmm.run({ maxInstructions: 20_000_000 });
    live.advance();
    const places = placesOf(live, 'kept by the shell');
    expect(places.length).toBeGreaterThan(0);
    for (const place of places) live.write(place, Buffer.from('KEPT'));
    machine.input.push(Buffer.from('echo $x\n'));
    await machine.vmm.run({ maxInstructions: 20_000_000 });
    expect(machine.console.text).toContain('KEPT by the shell');
  });

  describe('the kernel, of which nothing was told', () => {
    let kernel: LinuxKernel;
    beforeAll(() => {
      kernel = machine.vmm.services.get(VmiToken).kernel as LinuxKernel;
    });

    it('is the one that the guest says', async () => {
      expect(kernel.release).toBe(await answer('uname -r'));
      expect(kernel.space.mode).toBe(space.mode);
      expect(LinuxKernel.find(saved)).toMatchObject({ release: kernel.release });
    });

    it('has the symbols that it shows its own users', async () => {
      const some = 20_000; // the guest's own digest of all of them takes it a while
      const text = [...kernel.symbols]
        .slice(0, some)
        .map(({ address, type, name }) => `${address.toString(16).padStart(16, '0')} ${type} ${name}\n`)
        .join('');
      const digest = createHash('md5').update(text).digest('hex');
      expect(kernel.symbols.size).toBeGreaterThan(80_000);
      // Found by name in the table as it lies in memory, and in the list of all
      for (const { name, address } of [...kernel.symbols].filter((_symbol, index) => index % 9973 === 0))
        expect([...kernel.symbols].filter((symbol) => symbol.name === name).map((symbol) => symbol.address)).toContain(
          LinuxKernel.find(saved)!.symbols.address(name) ?? address,
        );
      expect(await answer(`head -n ${some} /proc/kallsyms | md5sum`)).toBe(`${digest}  -`);
    });

    it('has types with fields where the compiler put them', () => {
      const field = (type: string, path: string): { offset: number; size: number; bits?: object } => {
        const { offset, size, bits } = requireField(kernel.types.type(type)!, path);
        return { offset, size, ...(bits === undefined ? {} : { bits }) };
      };
      expect(kernel.types.type('list_head')).toMatchObject({ kind: 'struct', size: 16 });
      expect(field('list_head', 'prev')).toEqual({ offset: 8, size: 8 });
      expect(field('task_struct', 'comm')).toMatchObject({ size: 16 });
      // In an anonymous union; and of a named member's structure only by its path
      expect(field('page', 'mapping')).toEqual({ offset: 24, size: 8 });
      expect(field('task_struct', 'tasks.next')).toEqual({ offset: field('task_struct', 'tasks').offset, size: 8 });
      expect(() => field('task_struct', 'next')).toThrow(/struct task_struct has no field "next"/);
      expect(field('task_struct', 'sched_contributes_to_load').bits).toMatchObject({ size: 1 });
      expect(kernel.types.type('pid_type')?.values?.get('PIDTYPE_TGID')).toBe(1n);
    });

    it('runs the processes that the guest sees, entry by entry', async () => {
      const { guest, introspection: found } = await says.processes(shell, kernel);
      expect(found).toEqual(guest);
      const processes = [...kernel.processes()];
      expect(processes.find(({ name }) => name === 'sh')).toMatchObject({ kernelThread: false });
      expect(processes.find(({ name }) => name === 'kthreadd')).toMatchObject({
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

  describe.skipIf(planted().length === 0)(
    `what was planted${planted().length === 0 ? ' (not run: gcc with a static C library is missing)' : ''}`,
    () => {
      let vmi: Vmi, kernel: LinuxKernel, pid: number, task: bigint;
      beforeAll(async () => {
        vmi = machine.vmm.services.get(VmiToken);
        const said = await answer('SEED=sown /planted one "two three" & sleep 1');
        expect(said).toMatch(/planted \d+/);
        pid = Number(/planted (\d+)/.exec(said)![1]);
        kernel = vmi.kernel as LinuxKernel;
        task = [...kernel.processes()].find((process) => process.pid === pid)!.address;
      });

      it('has its arguments and its environment', async () => {
        expect(kernel.argumentsOf(task)).toEqual(['/planted', 'one', 'two three']);
        const { guest: variables, introspection: found } = await says.environment(shell, kernel, pid);
        expect(found).toEqual(variables);
        expect(variables).toContain('SEED=sown');
      });

      it('has its threads, with their names', async () => {
        const { guest, introspection: found } = await says.threads(shell, kernel, pid);
        expect(found).toEqual(guest);
        expect([...kernel.threads(task)].map(({ name }) => name)).toEqual(['planted', 'worker-one', 'worker-two']);
      });

      it('has its memory mapped as /proc shows it', async () => {
        const { guest, introspection: lines } = await says.mappings(shell, kernel, pid);
        expect(lines).toEqual(guest);
        expect(lines.filter((line) => line.endsWith('/tmp/deep/er/file.txt'))).toHaveLength(2);
      });

      it('has its files open, with their paths', async () => {
        const { guest, introspection: found } = await says.openFiles(shell, kernel, pid);
        expect(found).toEqual(guest);
        const files = [...kernel.openFiles(task)];
        expect(files.find(({ path }) => path === '/tmp/deep/er/file.txt')).toMatchObject({
          access: 'rw',
          kind: 'regular',
          position: 7n,
        });
        expect(files.map(({ path }) => path)).toContain('/tmp/deleted.txt (deleted)');
      });

      it('has its sockets', () => {
        expect(says.sockets(kernel, pid)).toEqual(says.PLANTED_SOCKETS);
      });

      it('has its file system mounted, among those that /proc shows', async () => {
        const { guest, introspection: mounted } = await says.mounts(shell, kernel, pid);
        expect(mounted).toEqual(guest);
        expect(mounted).toContain('seeds /seeds tmpfs ro');
      });

      it('is in the list, by its number, and in memory; nothing else is hidden', () => {
        expect([...kernel.tasksByNumber()].map(({ address }) => address)).toContain(task);
        expect([...kernel.scanTasks()].map(({ address }) => address)).toContain(task);
        expect([...LINUX_REPORTS['hidden-processes'].rows(kernel, {})]).toEqual([]);
      });

      it('is one address space, by its number, its root and a symbol of nobody else', () => {
        const [first] = kernel.mappings(task);
        const root = vmi.rootOf(pid);
        expect(vmi.pidOf(root)).toBe(pid);
        expect(vmi.u32({ linear: first.start, pid })).toBe(0x464c_457f);
        expect(vmi.u32({ linear: first.start, root })).toBe(0x464c_457f);
        expect(vmi.text({ symbol: 'linux_banner' })).toContain(kernel.release);
        expect(vmi.symbolAt(vmi.symbol('linux_banner') + 3n)).toMatchObject({
          symbol: { name: 'linux_banner' },
          offset: 3n,
        });
        expect(() => vmi.rootOf(99_999)).toThrow(/no process 99999/);
      });
    },
  );

  describe('the kernel itself', () => {
    let kernel: LinuxKernel;
    beforeAll(() => {
      kernel = machine.vmm.services.get(VmiToken).kernel as LinuxKernel;
    });

    it('says how it was started, and when', async () => {
      expect(kernel.banner).toBe(await answer('cat /proc/version'));
      expect(kernel.commandLine).toBe(await answer('cat /proc/cmdline'));
      expect(`btime ${kernel.bootTime}`).toBe(await answer('grep btime /proc/stat'));
    });

    it('has the log that dmesg prints', async () => {
      const { guest, introspection: found } = await says.log(shell, kernel);
      expect(found).toEqual(guest);
    });

    it('gives out physical addresses as /proc/iomem shows', async () => {
      const { guest, introspection: found } = await says.iomem(shell, kernel);
      expect(found).toEqual(guest);
    });

    it('has tables that point where they should, and code as it was built, until somebody changes them', () => {
      const findings = (rows: Iterable<{ finding: string }>): object[] =>
        [...rows].filter(({ finding }) => finding !== '');
      expect(findings(kernel.systemCalls())).toEqual([]);
      expect(findings(kernel.interruptTable())).toEqual([]);
      expect([...kernel.patchedCode()]).toEqual([]);
      const calls = [...kernel.systemCalls()];
      expect(calls.filter(({ abi }) => abi === '64').length).toBeGreaterThan(400);
      expect(calls.find(({ abi, index }) => abi === '64' && index === 1)).toMatchObject({ symbol: '__x64_sys_write' });
      // Kernels without a table for 32-bit programs choose by a switch
      if (kernel.symbols.address('ia32_sys_call_table') !== undefined)
        expect(calls.find(({ abi, index }) => abi === '32' && index === 4)?.symbol).toMatch(/sys_write$/);

      // A hook of each kind, in memory that is thrown away: a copy of what was saved
      const changed = new Changed(saved);
      const copy = LinuxKernel.find(changed)!;
      const table = copy.symbols.address('sys_call_table')!,
        write = copy.symbols.address('__x64_sys_write')!,
        read = copy.symbols.address('vfs_read')!,
        gate = copy.symbols.address('idt_table')! + 16n * 3n;
      copy.space.write(table + 8n * 62n, Buffer.from(BigUint64Array.of(write + 5n).buffer));
      copy.space.write(table + 8n * 63n, Buffer.from(BigUint64Array.of(0xffff_ffff_c000_1000n).buffer));
      copy.space.write(gate, Buffer.from([0, 0]));
      copy.space.write(gate + 6n, Buffer.from([0, 0xc1]));
      copy.space.write(read, Buffer.from([0xcc]));
      expect(findings(copy.systemCalls())).toMatchObject([
        { index: 62, symbol: '__x64_sys_write+0x5', finding: 'not at the start of a function' },
        { index: 63, finding: 'outside the kernel and its modules' },
      ]);
      expect(findings(copy.interruptTable())).toMatchObject([
        { index: 3, finding: 'outside the kernel and its modules' },
      ]);
      expect([...copy.patchedCode()]).toMatchObject([{ function: 'vfs_read', finding: 'a breakpoint' }]);
    });

    it('has a process that somebody takes out of the list, by its number and in memory', () => {
      const changed = new Changed(saved);
      const copy = LinuxKernel.find(changed)!;
      const link = requireField(copy.types.type('task_struct')!, 'tasks').offset;
      const shell = [...copy.processes()].find(({ name }) => name === 'sh')!;
      const [next, before] = [0n, 8n].map((half) => copy.space.u64(shell.address + BigInt(link) + half));
      const pointer = (value: bigint): Buffer => Buffer.from(BigUint64Array.of(value).buffer);
      copy.space.write(before, pointer(next));
      copy.space.write(next + 8n, pointer(before));
      expect([...copy.processes()].map(({ pid }) => pid)).not.toContain(shell.pid);
      expect([...LINUX_REPORTS.hidden.rows(copy, {})]).toEqual([
        ['task', shell.pid, 'sh', shell.address, 'not found in the list'],
      ]);
    });

    it('has the types of a module that is loaded, which go on where its own end', async () => {
      expect(kernel.moduleTypes('tun')).toBeUndefined();
      expect(await answer('insmod /tun.ko; echo "loaded $?"')).toContain('loaded 0');
      const types = kernel.moduleTypes('tun')!;
      expect(types.source).toBe("BTF of the module tun in the kernel's memory");
      expect(kernel.types.type('tun_struct')).toBeUndefined();
      const field = requireField(types.type('tun_struct')!, 'dev');
      // Of the module's own structure, what the kernel's types say is behind the pointer
      expect(field.type.target).toBe(kernel.types.type('net_device'));
      expect([
        ...toolOf(machine.vmm.services.get(VmiToken), 'type').rows({ arguments: ['tun_struct', 'tun'] }),
      ]).toContainEqual([field.offset, '', 8, 'struct net_device *', '  dev']);
      // Its symbols, as the guest itself lists them
      const symbols = kernel.moduleSymbols('tun')!;
      const said = (await answer("grep '\\[tun\\]' /proc/kallsyms | head -n 20")).matchAll(
        /^([0-9a-f]+) (\w) (\S+)\s+\[tun\]/gm,
      );
      const listed = [...said].map(([, address, , symbol]) => [symbol, BigInt(`0x${address}`)] as const);
      expect(listed.length).toBeGreaterThan(10);
      for (const [symbol, address] of listed) expect([...symbols]).toContainEqual({ name: symbol, address, type: '' });
      const code = listed.find(([symbol]) => symbol === 'tun_chr_read_iter') ?? listed[0];
      expect(new CodeNames(kernel).nameOf(code[1] + 3n)).toBe(`${code[0]}+0x3 [tun]`);
      expect(await answer('rmmod tun; echo "gone $?"')).toContain('gone 0');
      expect(kernel.moduleSymbols('tun')).toBeUndefined();
      expect(kernel.moduleTypes('tun')).toBeUndefined();
    });

    it(
      'has its modules, and one that has taken itself out of the list',
      async () => {
        const layout = {
          size: kernel.types.type('module')!.size,
          name: requireField(kernel.types.type('module')!, 'name').offset,
          init: requireField(kernel.types.type('module')!, 'init').offset,
          list: requireField(kernel.types.type('module')!, 'list').offset,
        };
        for (const [name, hides] of [
          ['plain', false],
          ['hidden', true],
        ] as const) {
          const bytes = Buffer.from(moduleFile(name, layout, hides));
          for (let at = 0; at < bytes.length; at += 200) {
            const part = [...bytes.subarray(at, at + 200)]
              .map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`)
              .join('');
            await answer(`printf '${part}' >> /tmp/${name}.ko`);
          }
          expect(await answer(`insmod /tmp/${name}.ko; echo "loaded $?"`)).toContain('loaded 0');
        }
        const shown = (await answer('cat /proc/modules'))
          .split(/\r?\n/)
          .map((line) => line.split(' ').slice(0, 3).join(' '));
        expect([...kernel.modules()].map(({ name, size, references }) => `${name} ${size} ${references}`)).toEqual(
          shown,
        );
        expect([...kernel.modules()].map(({ name }) => name)).toEqual(['plain']);
        expect([...kernel.modulesInSysfs()].map(({ name }) => name).sort()).toEqual(['hidden', 'plain']);
        const hidden = [...kernel.hiddenModules()];
        expect(hidden.map(({ name, why }) => ({ name, why }))).toEqual([
          { name: 'hidden', why: 'in /sys/module, not in the list of modules' },
        ]);
        expect([...LINUX_REPORTS.hidden.rows(kernel, {})]).toEqual([
          ['module', undefined, 'hidden', hidden[0].base, 'in /sys/module, not in the list of modules'],
        ]);
      },
      BOOT_TIMEOUT,
    );
  });
});
