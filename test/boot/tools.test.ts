/** `visorkit vmi` as a user runs it: on a file, on a running VM, on one that it starts; with a profile from outside. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestParameters } from '@visorkit/guests';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { bootedDebian } from './booted.js';
import { BOOT_TIMEOUT, QUICK, findDebianGuest, titled } from './boots.js';

const BIN = join(import.meta.dirname, '../../apps/visorkit/bin/visorkit.js');
const BUILT = join(import.meta.dirname, '../../apps/visorkit/build/parts.cjs');
const found = await findDebianGuest('amd64');
const folder = mkdtempSync(join(tmpdir(), 'visorkit-tools-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function vmi(...args: string[]): { out: string[]; error: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [BIN, 'vmi', ...args], { encoding: 'utf8' });
  return { out: stdout.trimEnd().split('\n'), error: stderr, status };
}

describe.skipIf(!existsSync(BUILT))('visorkit vmi (needs a build)', () => {
  it('lists its tools, those of profiles too', () => {
    const { out, status } = vmi();
    expect(status).toBe(0);
    expect(out[0]).toBe('Tools for every guest:');
    expect(out).toContain('Tools for linux:');
    expect(out.join('\n')).toMatch(/^ {2}map-symbol <symbol> \[length\] +bytes of memory at a symbol/m);
    expect(out.join('\n')).toMatch(/^ {2}lsof +open files of each process$/m);
  });

  it('says what is wrong with what it is given', () => {
    const empty = join(folder, 'empty.raw');
    writeFileSync(empty, new Uint8Array(1 << 20));
    expect(vmi('process-list').error).toMatch(
      /^visorkit: No guest is named: give one of --dump FILE, .*\[OPTION_MISSING\]/,
    );
    expect(vmi('process-list', '--dump', empty, '-s', 'x').error).toMatch(
      /--dump and --socket name several guests.*\[OPTION_VALUE\]/,
    );
    expect(vmi('process-list', '--dump', join(folder, 'none'))).toMatchObject({
      error: expect.stringMatching(/none" cannot be read: there is no such file\. \[FILE_UNREADABLE\]/) as string,
      status: expect.any(Number) as number,
    });
    expect(vmi('process-list', '--dump', folder).error).toMatch(/is no file.*\[FILE_UNREADABLE\]/);
    expect(vmi('process-list', '--dump', empty).error).toMatch(
      /No kernel is found in these 1 MiB.*linux.*\[VMI_NO_KERNEL\]/,
    );
    expect(vmi('process-list', '-s', join(folder, 'no.sock')).error).toMatch(
      /Nobody answers at the socket .*\[INTROSPECTOR_SOCKET\]/,
    );
    expect(vmi('process-list', '--dump', empty).status).not.toBe(0);
  });

  it('says what is wrong on a VM that it starts, and fails: it is neither the backend nor a plugin', () => {
    const image = join(folder, 'halts.bin');
    writeFileSync(image, Uint8Array.of(0xf4));
    const started = (...args: string[]): ReturnType<typeof vmi> => vmi(...args, '--kernel', image, '--loader', 'flat');
    const fails = (error: RegExp): object => ({ status: 2, error: expect.stringMatching(error) as string });
    expect(started('mem-event', 'twelve')).toMatchObject(
      fails(/^visorkit: "twelve" is no number .*\[VMI_ARGUMENT\]\n$/),
    );
    expect(started('msr-event')).toMatchObject(
      fails(/^visorkit: msr-event was given 0 arguments.*\[VMI_ARGUMENT\]\n$/),
    );
    const none = /\nvisorkit: No kernel is found in these 256 MiB.*\[VMI_NO_KERNEL\]\n$/;
    expect(started('process-list')).toMatchObject(fails(none));
    expect(started('trace-function', 'do_mkdirat')).toMatchObject(fails(none));
  });

  it('takes a profile from outside, whose reports are tools', () => {
    const dump = join(folder, 'toy.raw'),
      profile = join(folder, 'toy.mjs');
    writeFileSync(dump, Buffer.concat([Buffer.from('TOY KERNEL 7\0'), new Uint8Array(8192)]));
    writeFileSync(
      profile,
      `import { AddressSpace, SymbolList, defineOsProfile } from '@visorkit/vmi';
       export const profile = defineOsProfile({
         name: 'toy',
         describe: 'a kernel that is a line of text',
         find(memory) {
           const space = new AddressSpace(memory, 'none');
           if (!space.text(0n, 64).startsWith('TOY KERNEL')) return undefined;
           return {
             os: 'toy', release: space.text(0n).slice(11), memory, space,
             symbols: new SymbolList('nothing', [{ name: 'start', address: 0n, type: 'T' }]),
             types: { source: 'nothing', pointerSize: 8, type: () => undefined },
             isThere: () => true,
             processes: () => [{ pid: 1, ppid: 0, name: 'idle\\u001b[2J', address: 16n, root: undefined }],
             modules: () => [],
           };
         },
         reports: {
           toys: {
             describe: 'what it has to play with',
             columns: [{ title: 'TOY' }, { title: 'PRICE', kind: 'number' }, { title: 'AT', kind: 'address' }],
             rows: () => [['ball', 3, 0x10n], ['kite', 12, undefined]],
           },
         },
       });`,
    );
    const on = (...args: string[]): ReturnType<typeof vmi> => vmi(...args, '--dump', dump, '--profile', profile);
    expect(on('toys')).toMatchObject({
      status: 0,
      error: '',
      out: ['TOY   PRICE  AT', 'ball      3  0000000000000010', 'kite     12'],
    });
    expect(on('toys', '--json').out).toEqual([
      '{"toy":"ball","price":3,"at":"0x10"}',
      '{"toy":"kite","price":12,"at":null}',
    ]);
    expect(on('map-symbol', 'start', '16').out).toEqual([
      '0000000000000000: 54 4f 59 20 4b 45 52 4e 45 4c 20 37 00 00 00 00  |TOY KERNEL 7....|',
    ]);
    expect(on('toyz').error).toMatch(/no tool "toyz" for toy; did you mean "toys"\? \[VMI_TOOL\]/);
    expect(on('map-addr').error).toMatch(
      /map-addr was given 0 arguments; "map-addr <address> \[length\]" is right\. \[VMI_ARGUMENT\]/,
    );
    expect(on('map-addr', 'twelve').error).toMatch(/"twelve" is no address.*\[VMI_ARGUMENT\]/);
    expect(vmi('toys', '--dump', dump, '--profile', join(import.meta.dirname, 'boots.ts')).error).toMatch(
      /exports no "profile".*\[PROFILE_SHAPE\]/,
    );
  });
});

describe.skipIf(found.missing !== '' || !existsSync(BUILT))(
  titled('visorkit vmi on Debian (needs a build)', found),
  () => {
    let file: string;
    beforeAll(async () => {
      file = await bootedDebian(found.value);
    }, BOOT_TIMEOUT);

    it('reads a saved VM', () => {
      const { out, error, status } = vmi('process-list', '--dump', file);
      expect({ error, status }).toEqual({ error: '', status: 0 });
      expect(out[0]).toMatch(/^\[ {4}0\] swapper\/0 \(struct addr:ffffffff[0-9a-f]{8}\)$/);
      expect(out.some((line) => /^\[ +\d+\] sh \(struct addr:ff[0-9a-f]{14}\)$/.test(line))).toBe(true);
      const rows = vmi('process-list', '--dump', file, '--json').out.map(
        (line) => JSON.parse(line) as { pid: number; name: string },
      );
      expect(rows).toHaveLength(out.length);
      expect(rows.find(({ pid }) => pid === 1)).toMatchObject({ pid: 1, ppid: 0, name: 'init' });
      expect(vmi('info', '--dump', file).out.join('\n')).toMatch(/^release +6\.\d+\.\d+-.*-cloud-amd64$/m);
      expect(vmi('map-symbol', 'linux_banner', '16', '--dump', file).out[0]).toMatch(/\|Linux version [56]\.\|$/);
      expect(
        vmi('symbols', 'sys_call_table', '--dump', file).out.some((line) => line.endsWith(' sys_call_table')),
      ).toBe(true);
      expect(
        vmi('maps', '--pid', '1', '--dump', file, '--json').out.map((line) => JSON.parse(line) as object),
      ).toContainEqual(expect.objectContaining({ pid: 1, path: '[stack]', rights: 'rw-p' }));
    });

    it(
      'tells what a VM does that it starts itself, as soon as there is what the tool asks for',
      () => {
        const { kernel, initramfs } = found.value;
        const append = `console=ttyS0 quiet ${QUICK} ${guestParameters({ mode: 'check' })}`;
        const started = ['--kernel', kernel, '--initrd', initramfs, '--append', append, '--time', 'virtual'];
        const traced = vmi('trace-function', 'do_sys_openat2', '2', '--count', '2', '--json', ...started);
        expect(traced).toMatchObject({ status: 0, error: '' });
        expect(traced.out.map((line) => JSON.parse(line) as object)).toEqual([
          expect.objectContaining({
            call: expect.stringMatching(/^do_sys_openat2\(0xffffff9c, 0x[0-9a-f]+\)$/) as string,
          }),
          expect.objectContaining({ call: 'do_sys_openat2', result: expect.stringMatching(/^0x/) as string }),
        ]);
        const changes = vmi('cr3-event', '--count', '3', '--json', ...started).out.map(
          (line) => JSON.parse(line) as { cr3: string; previous: string },
        );
        expect(changes).toHaveLength(3);
        expect(changes[1].previous).toBe(changes[0].cr3);
      },
      BOOT_TIMEOUT,
    );

    it('writes memory in each format, and reads the same there', () => {
      const { out } = vmi('process-list', '--dump', file);
      for (const format of ['elf-core', 'lime', 'raw']) {
        const dump = join(folder, `debian.${format}`);
        expect(vmi('dump-memory', dump, format, '--dump', file, '--json').out).toEqual([
          JSON.stringify({ file: dump, format, memory: 256 << 20 }),
        ]);
        expect(vmi('process-list', '--dump', dump).out).toEqual(out);
        rmSync(dump);
      }
      expect(vmi('dump-memory', join(folder, 'x'), 'elf', '--dump', file).error).toMatch(
        /"dump-memory <file> \[format\]" is right, with a format of raw, elf-core, lime\. \[VMI_ARGUMENT\]/,
      );
    });

    it(
      'asks a VM that runs, over a socket that only its owner may open; and one that it starts itself',
      async () => {
        const socket = join(folder, 'vm.sock');
        const child = spawn(process.execPath, [BIN, 'run', '--restore', file, '--introspector', socket], {
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        onTestFinished(() => void child.kill('SIGKILL'));
        const ended = new Promise((resolve) => {
          child.on('close', resolve);
        });
        let text = '';
        const said = (words: string): Promise<void> =>
          new Promise((resolve) => {
            child.stdout.on('data', (chunk: Buffer) => {
              text += chunk.toString('latin1');
              if (text.includes(words)) resolve();
            });
          });
        const ready = said('sofar\r\n');
        child.stdin.write('sleep 4321 & echo so""far\n');
        await ready;
        expect(statSync(socket).mode & 0o777).toBe(0o600);
        const processes = vmi('psaux', '-s', socket, '--json').out.map(
          (line) => JSON.parse(line) as { pid: number; arguments: string },
        );
        const sleeper = processes.find(({ arguments: words }) => words === 'sleep 4321');
        expect(sleeper).toBeDefined();
        expect(vmi('lsof', '-s', socket, '--pid', String(sleeper!.pid)).out.join('\n')).toMatch(
          / 0 +rw +character .*\/dev\/ttyS0/,
        );
        expect(vmi('lsoff', '-s', socket).error).toMatch(/did you mean "lsof"\? \[VMI_TOOL\]/);
        const core = join(folder, 'live.elf');
        expect(vmi('dump-memory', core, '-s', socket).status).toBe(0);
        expect(vmi('psaux', '--dump', core).out.some((line) => line.endsWith('sleep 4321'))).toBe(true);
        rmSync(core);
        // Events, while it runs: the tool ends by itself, and takes its traps with it
        const traced = spawn(process.execPath, [
          BIN,
          'vmi',
          'trace-function',
          'do_mkdirat',
          '2',
          '--count',
          '2',
          '--json',
          '-s',
          socket,
        ]);
        let rows = '';
        traced.stdout.on('data', (chunk: Buffer) => {
          rows += chunk.toString();
        });
        const told = new Promise((resolve) => {
          traced.on('close', resolve);
        });
        let folders = 0;
        const making = setInterval(() => child.stdin.write(`mkdir /tmp/f${folders++}\n`), 200); // until the tool has begun to listen
        expect(await told).toBe(0);
        clearInterval(making);
        const [call, result] = rows
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { call: string; result: string | null; vcpu: number });
        expect(call).toMatchObject({
          vcpu: 0,
          result: null,
          call: expect.stringMatching(/^do_mkdirat\(0xffffff9c, 0xff[0-9a-f]{14}\)$/) as string,
        });
        expect(result).toMatchObject({ call: 'do_mkdirat', result: '0x0' });
        expect(vmi('trace-function', 'do_mkdir_at', '-s', socket).error).toMatch(
          /no symbol "do_mkdir_at".*\[VMI_SYMBOL\]/,
        );
        // The guest has gone on meanwhile
        const over = said('bye\r\n');
        child.stdin.write('echo b""ye; poweroff\n');
        await over;
        await ended;
        expect(existsSync(socket)).toBe(false);

        const { out, status } = vmi('process-list', '--restore', file, '--max-instructions', '1000');
        expect(out.some((line) => line.includes('] init (struct addr:'))).toBe(true);
        expect(status).toBe(0);
      },
      BOOT_TIMEOUT,
    );
  },
);
