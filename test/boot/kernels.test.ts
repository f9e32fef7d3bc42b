/**
 * Introspection of the other kernels that Debian has: with real-time scheduling, 32-bit without PAE and with it, older and newer ones. Each is booted to its
 * prompt, and what is seen of it is compared with what it says of itself. Those for 32 bits have no description of their types, and few symbols.
 */
import { prepareDebianGuest } from '@visorkit/guests';
import type { DebianGuestOptions } from '@visorkit/guests';
import { LinuxKernel, profile } from '@visorkit/os-linux';
import { readSavedVm } from '@visorkit/project';
import { LiveMemory, SavedVmMemory, SymbolList, fieldOf } from '@visorkit/vmi';
import type { GuestSymbol, PageMode, PhysicalMemory, Type } from '@visorkit/vmi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootedDebian, bootedOf } from './booted.js';
import { BOOT_TIMEOUT, find, machineOf, titled } from './boots.js';
import type { Machine } from './boots.js';
import { Changed, placesOf } from './changed.js';
import * as says from './guest-says.js';
import { GuestShell } from './guest-says.js';
import { planted } from './planted.js';

interface OtherKernel {
  readonly name: string;
  readonly from: DebianGuestOptions;
  readonly release: RegExp;
  readonly mode: PageMode;
}

const KERNELS: readonly OtherKernel[] = [
  {
    name: '6.12 of bookworm-backports',
    from: { kernel: 'linux-image-cloud-amd64', suite: 'bookworm-backports' },
    release: /^6\.12\..*-cloud-amd64$/,
    mode: '5-level',
  },
  { name: '6.1 rt', from: { kernel: 'linux-image-rt-amd64' }, release: /^6\.1\..*-rt-amd64$/, mode: '5-level' },
  {
    name: '5.10 of bullseye',
    from: { kernel: 'linux-image-cloud-amd64', suite: 'bullseye' },
    release: /^5\.10\..*-cloud-amd64$/,
    mode: '4-level',
  },
  { name: '6.1 686', from: { arch: 'i386' }, release: /^6\.1\..*-686$/, mode: '32-bit' },
  {
    name: '6.1 686-pae',
    from: { arch: 'i386', kernel: 'linux-image-686-pae' },
    release: /^6\.1\..*-686-pae$/,
    mode: 'pae',
  },
];

/** Structures of the kernel's own that are not found whole, but by what leads on from them: they are compared as parts of others. */
const PARTS_ONLY = new Set(['maple_tree', 'xarray', 'idr']);

for (const { name, from, release, mode } of KERNELS) {
  const found = await find(() => prepareDebianGuest(from));

  describe.skipIf(found.missing !== '')(
    titled(`Introspection of Debian's ${name}`, found),
    { timeout: BOOT_TIMEOUT },
    () => {
      let machine: Machine, shell: GuestShell, kernel: LinuxKernel, saved: SavedVmMemory, pid: number;
      const wide = mode === '4-level' || mode === '5-level';
      const isPlanted = planted(from.arch).length > 0;

      beforeAll(async () => {
        const file = await readSavedVm(await bootedDebian(found.value));
        machine = await machineOf({ ...bootedOf(found.value), typed: [':'] });
        await machine.vmm.restore(file);
        const live = new LiveMemory(machine.vmm.memory);
        saved = new SavedVmMemory(file, live.ranges);
        shell = new GuestShell(machine, live);
        // Where no program of ours can be made there is one of busybox, which keeps a file open
        const said = await shell.answer(
          isPlanted
            ? 'SEED=sown /planted one "two three" & sleep 1'
            : 'mkdir -p /tmp/deep/er; echo kept > "/tmp/deep/er/two three"; SEED=sown tail -f "/tmp/deep/er/two three" & sleep 1; echo planted $!',
        );
        pid = Number(/planted (\d+)/.exec(said)?.[1]);
        kernel = LinuxKernel.find(live)!;
      }, BOOT_TIMEOUT);
      afterAll(async () => {
        await machine?.[Symbol.asyncDispose]();
      });

      it('is found, with its symbols and types, and says where they come from', async () => {
        expect(kernel.release).toMatch(release);
        expect(kernel.release).toBe(await shell.answer('uname -r'));
        expect(kernel.banner).toBe(await shell.answer('cat /proc/version'));
        expect(kernel.space.mode).toBe(mode);
        const rows = new Map([...profile.reports.info.rows(kernel, {})].map(([key, value]) => [key, String(value)]));
        expect(rows.get('symbols')).toMatch(/^\d+, from kallsyms in the kernel's memory$/);
        expect(rows.get('types')).toMatch(
          wide ? /^BTF in the kernel's memory$/ : /^inferred from the running structures/,
        );
      });

      it('has the symbols that it shows its own users', async () => {
        const some = await shell.lines('head -n 3000 /proc/kallsyms | tail -n 100');
        const digits = wide ? 16 : 8;
        const own = [...kernel.symbols]
          .slice(2900, 3000)
          .map(({ address, type, name: symbol }) => `${address.toString(16).padStart(digits, '0')} ${type} ${symbol}`);
        expect(own).toEqual(some);
      });

      it('is found without its VMCOREINFO, with the same tables and symbols', () => {
        const copy = LinuxKernel.find(without(saved, INFO))!;
        expect(copy.release).toBe(kernel.release);
        expect({ mode: copy.space.mode, root: copy.space.root }).toEqual({ mode, root: kernel.space.root });
        const [all, others] = [[...kernel.symbols], [...copy.symbols]];
        expect(others.length).toBe(all.length);
        expect(
          others.findIndex((symbol, index) => symbol.address !== all[index].address || symbol.name !== all[index].name),
        ).toBe(-1);
      });

      it('takes symbols as they were linked, and moves them to where it is; refuses those of another', () => {
        const linked = asLinked(kernel);
        const given = LinuxKernel.find(saved, { symbols: new SymbolList('System.map', linked) })!;
        expect(given.symbols.source).toMatch(/^System\.map, moved by /);
        expect(given.symbols.address('_stext')).toBe(kernel.symbols.address('_stext'));
        expect([...given.processes()].length).toBeGreaterThan(20);
        const wrong = linked.map((symbol) =>
          symbol.name === '_stext' ? symbol : { ...symbol, address: symbol.address + 64n },
        );
        const names = wide ? wrong : [...wrong, { name: 'init_uts_ns', type: 'D', address: 0xc100_0000n }];
        expect(() => LinuxKernel.find(saved, { symbols: new SymbolList('System.map', names) })!.symbols).toThrow(
          /are not those of the kernel .*: it has/,
        );
      });

      it('runs the processes that the guest sees, entry by entry', async () => {
        const { guest, introspection } = await says.processes(shell, kernel);
        expect(introspection).toEqual(guest);
        expect([...profile.reports['hidden-processes'].rows(kernel, {})]).toEqual([]);
        const numbers = [...kernel.tasksByNumber()].map(({ pid: number }) => number);
        for (const process of kernel.processes()) if (process.pid !== 0) expect(numbers).toContain(process.pid);
      });

      it.each([
        ['its environment', says.environment],
        ['its threads', says.threads],
        ['its memory mapped', says.mappings],
        ['its files open', says.openFiles],
        ['its file systems mounted', says.mounts],
      ] as const)('has a process with %s as the guest shows', async (_what, compared) => {
        const { guest, introspection } = await compared(shell, kernel, pid);
        expect(guest.length).toBeGreaterThan(0);
        expect(introspection).toEqual(guest);
      });

      it('has what was planted', () => {
        const task = says.taskOf(kernel, pid);
        expect(kernel.environmentOf(task)).toContain('SEED=sown');
        if (!isPlanted) {
          expect(kernel.argumentsOf(task)).toEqual(['tail', '-f', '/tmp/deep/er/two three']);
          expect([...kernel.openFiles(task)].map(({ path }) => path)).toContain('/tmp/deep/er/two three');
          return;
        }
        expect(kernel.argumentsOf(task)).toEqual(['/planted', 'one', 'two three']);
        expect([...kernel.threads(task)].map(({ name: thread }) => thread)).toEqual([
          'planted',
          'worker-one',
          'worker-two',
        ]);
        expect(says.sockets(kernel, pid)).toEqual(says.PLANTED_SOCKETS);
      });

      if (!isPlanted)
        it('has the sockets of a program that came later', async (context) => {
          if (planted(from.arch, 'sockets').length === 0) return context.skip('no gcc that compiles for 32 bits');
          expect(await shell.answer('/sockets & sleep 1; echo it is $!')).toContain('sockets are there');
          const [number] = (await shell.answer('pidof sockets')).split(' ');
          expect(says.sockets(kernel, Number(number))).toEqual(says.PLANTED_SOCKETS);
        });

      it('has a module that came later, and its symbols', async (context) => {
        if (!(await shell.answer('ls /')).includes('tun.ko')) return context.skip('the module could not be unpacked');
        expect(await shell.answer('insmod /tun.ko; echo "loaded $?"')).toContain('loaded 0');
        const shown = (await shell.lines('cat /proc/modules')).map((line) => {
          const [module, size, references, , state, base] = line.split(' ');
          return {
            name: module,
            size: Number(size),
            references: Number(references),
            state: state.toLowerCase(),
            base: BigInt(base),
          };
        });
        const seen = [...kernel.modules()].map(({ name: module, size, references, state, base }) => ({
          name: module,
          size,
          references,
          state,
          base,
        }));
        expect(seen).toEqual(shown);
        expect([...kernel.modulesInSysfs()].map(({ name: module }) => module)).toEqual(['tun']);
        expect([...kernel.hiddenModules()]).toEqual([]);
        const symbols = kernel.moduleSymbols('tun')!;
        const said = await shell.lines("grep '\\[tun\\]' /proc/kallsyms | head -n 20");
        expect(said.length).toBe(20);
        for (const line of said) {
          const [address, , symbol] = line.split(/\s+/);
          expect([...symbols].filter(({ name: own }) => own === symbol).map((own) => own.address)).toContain(
            BigInt(`0x${address}`),
          );
        }
      });

      it('has the log that dmesg prints', async () => {
        const { guest, introspection } = await says.log(shell, kernel);
        expect(introspection).toEqual(guest);
      });

      it('is as it was built, and its devices are where it says', async () => {
        const findings = (rows: Iterable<{ finding: string }>): object[] =>
          [...rows].filter(({ finding }) => finding !== '');
        expect(findings(kernel.systemCalls())).toEqual([]);
        expect([...kernel.systemCalls()].length).toBeGreaterThan(400);
        expect(findings(kernel.interruptTable())).toEqual([]);
        expect([...kernel.interruptTable()].length).toBeGreaterThan(200);
        expect([...kernel.patchedCode()]).toEqual([]);
        const { guest, introspection } = await says.iomem(shell, kernel);
        expect(introspection).toEqual(guest);
        expect(kernel.commandLine).toBe(await shell.answer('cat /proc/cmdline'));
        if (wide) expect(`btime ${kernel.bootTime}`).toBe(await shell.answer('grep btime /proc/stat'));
      });

      if (wide) {
        // It takes seconds, and is the same for all of them
        if (mode === '4-level')
          it('is found by given symbols alone, when nothing in it says where it is', () => {
            const bare = without(saved, INFO, TOKENS);
            expect(LinuxKernel.find(bare)).toBeUndefined();
            const given = LinuxKernel.find(bare, { symbols: new SymbolList('System.map', asLinked(kernel)) })!;
            expect({ release: given.release, root: given.space.root }).toEqual({
              release: kernel.release,
              root: kernel.space.root,
            });
            expect(given.symbols.address('init_task')).toBe(kernel.symbols.address('init_task'));
          });

        it('has fields where they are inferred without its BTF', () => {
          const inferred = LinuxKernel.find(new LiveMemory(machine.vmm.memory))!.base.inferredTypes();
          const [there, compared]: [string[], string[]] = [[], []];
          for (const type of inferred.all) {
            if (PARTS_ONLY.has(type.name)) continue;
            for (const [path, offset] of leaves(type, '', 0)) {
              const own = kernel.types.type(type.name)!;
              const field = fieldOf(own, path) ?? fieldOf(own, path.replace('__state', 'state'));
              compared.push(`${type.name}.${path} ${offset}`);
              there.push(`${type.name}.${path} ${field?.offset}`);
            }
          }
          expect(compared).toEqual(there);
          // How much that is
          expect(compared.length).toBeGreaterThan(110);
        });
      } else {
        it('believes a configuration before it infers, and infers the rest from there', () => {
          const [tasks, mm, task] = ['tasks', 'mm', 'pid'].map((path) => kernel.base.field('task_struct', path).offset);
          const values = { linux_tasks: BigInt(tasks), linux_mm: BigInt(mm), linux_pid: BigInt(task) };
          const all = [...LinuxKernel.find(saved)!.processes()];
          const same = LinuxKernel.find(saved, { values })!;
          expect([...same.processes()]).toEqual(all);
          expect(same.types.source).toMatch(
            /^inferred .*; as given: task_struct\.tasks, task_struct\.mm, task_struct\.pid$/,
          );
          // Its neighbour, which is tgid: believed, though it is no place where all numbers differ twice
          const other = LinuxKernel.find(saved, { values: { ...values, linux_pid: BigInt(task + 4) } })!;
          expect(other.base.field('task_struct', 'pid').offset).toBe(task + 4);
          expect([...other.processes()].map(({ pid: number }) => number)).toEqual(all.map(({ tgid }) => tgid));
          // A name that is elsewhere is looked for there alone: three fields of a configuration are enough then
          const init = kernel.base.symbol('init_task');
          const bare = LinuxKernel.find(saved, {
            values: { ...values, linux_name: BigInt(tasks + 16), linux_init_task: init },
          })!;
          expect(bare.base.field('task_struct', 'comm').offset).toBe(tasks + 16);
          const wrong = LinuxKernel.find(saved, { values: { linux_mm: 0x3000n } })!;
          expect(() => wrong.types).toThrow(/linux_mm, as it was given, does not tell threads/);
        });

        it('takes types that are given before those that it infers', () => {
          const types = kernel.base.inferredTypes();
          const given = { source: 'an ISF', pointerSize: types.pointerSize, type: (of: string) => types.type(of) };
          expect(LinuxKernel.find(saved, { types: given })!.types).toBe(given);
        });
      }
    },
  );
}

/** Symbols as they would be if the kernel had not been moved; offsets of per-CPU variables are not moved. */
const asLinked = ({ symbols }: LinuxKernel): GuestSymbol[] =>
  Array.from(symbols, (symbol) =>
    symbol.address < 0x100_0000n ? symbol : { ...symbol, address: symbol.address - 0x1230_0000n },
  );

/** Fields of a type that are no structures themselves, and where they are. */
function* leaves(type: Type, before: string, base: number): Generator<[string, number]> {
  for (const { name, type: inner, bitOffset } of type.members ?? []) {
    const at = base + bitOffset / 8;
    if (inner.members === undefined) yield [`${before}${name}`, at];
    else yield* leaves(inner, `${before}${name}.`, at);
  }
}

/** How VMCOREINFO begins, and what every table of tokens has. */
const INFO = 'OSRELEASE=';
const TOKENS = '0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00';

/** The memory with these texts struck out. */
function without(memory: PhysicalMemory, ...texts: readonly string[]): PhysicalMemory {
  const changed = new Changed(memory);
  for (const text of texts) for (const place of placesOf(memory, text)) changed.write(place, Buffer.from('NO'));
  return changed;
}
