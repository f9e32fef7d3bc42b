/** Dumps that QEMU writes, beside the memory that it says the guest has: every format of `dump-guest-memory` that this QEMU can write. */
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestParameters } from '@visorkit/guests';
import { LinuxKernel } from '@visorkit/os-linux';
import { openDumpFile, writeDumpFile } from '@visorkit/project/introspection';
import type { OpenDump } from '@visorkit/project/introspection';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootedOf } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, titled } from './boots.js';
import * as says from './guest-says.js';
import { planted } from './planted.js';
import { Qemu, QemuShell, missingQemu as missing } from './qemu.js';

const MEGABYTES = 48;
const PAGE = 4096;
/** Where the content is that is put into the guest. */
const AT = 0x100_0000;

describe.skipIf(missing !== '')(titled('Dumps of QEMU', { missing, value: undefined }), () => {
  let folder: string, qemu: Qemu, truth: Buffer, formats: string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'visorkit-qemu-'));
    // Code, as a kernel is; and bytes that cannot be packed; the rest of memory is zeros
    const program = readFileSync(process.execPath).subarray(0x40_0000, 0xc0_0000);
    const noise = Buffer.alloc(0x10_0000);
    for (let at = 0, state = 1; at < noise.length; at += 4)
      noise.writeUInt32LE((state = (Math.imul(state, 1664525) + 1013904223) >>> 0), at);
    await writeFile(join(folder, 'content'), Buffer.concat([program, noise]));
    qemu = new Qemu(folder, [
      ...['-m', `${MEGABYTES}`, '-smp', '2', '-S'],
      ...['-device', `loader,file=${join(folder, 'content')},addr=${AT},force-raw=on`],
    ]);
    await qemu.connect();
    await qemu.ask('pmemsave', { val: 0, size: MEGABYTES << 20, filename: join(folder, 'truth') });
    truth = await readFile(join(folder, 'truth'));
    ({ formats } = await qemu.ask<{ formats: string[] }>('query-dump-guest-memory-capability'));
  });
  afterAll(async () => {
    qemu?.kill();
    await rm(folder, { recursive: true, force: true });
  });

  /** Some thousand pages, and every one that holds what was put in first and last. */
  function isTruth({ memory }: OpenDump): void {
    const page = Buffer.alloc(PAGE);
    const last = truth.length / PAGE - 1;
    const pages = [0, 159, AT / PAGE, (AT + 0x8f_f000) / PAGE, last];
    for (let state = 7; pages.length < 4000; ) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      pages.push(state % (last + 1));
    }
    const different = pages.filter(
      (number) =>
        memory.read(number * PAGE, page) < PAGE || page.compare(truth, number * PAGE, (number + 1) * PAGE) !== 0,
    );
    expect(different).toEqual([]);
    expect(memory.u8(MEGABYTES << 20)).toBe(-1);
  }

  it('has content to compare', () => {
    expect(truth.subarray(AT, AT + 0x80_0000).some((byte) => byte !== 0)).toBe(true);
  });

  it.each(['elf', 'kdump-zlib', 'kdump-lzo', 'kdump-snappy'])('%s', async (format) => {
    if (!formats.includes(format)) {
      console.log(`not compared: this QEMU cannot write ${format}; it writes ${formats.join(', ')}`);
      return;
    }
    const path = join(folder, format);
    await qemu.ask('dump-guest-memory', { paging: false, protocol: `file:${path}`, format });
    const dump = await openDumpFile(path);
    expect(dump.format).toBe(format === 'elf' ? 'elf-core' : 'kdump');
    isTruth(dump);
    // At reset: SDM volume 3A, table 10-1
    expect(dump.hints.cpus).toHaveLength(2);
    expect(dump.hints.cpus![1]).toMatchObject({ rip: 0xfff0n, cr0: 0x6000_0010n, cr3: 0n, cs: 0xf000n });
    dump[Symbol.dispose]();
  });

  it('raw, and written again by us as ELF core and LiME', async () => {
    const raw = await openDumpFile(join(folder, 'truth'));
    expect(raw.format).toBe('raw');
    isTruth(raw);
    for (const format of ['elf-core', 'lime'] as const) {
      await writeDumpFile(join(folder, format), raw.memory, format);
      const dump = await openDumpFile(join(folder, format));
      expect(dump.format).toBe(format);
      isTruth(dump);
      dump[Symbol.dispose]();
    }
    raw[Symbol.dispose]();
  });
});

const FORMATS = ['elf', 'kdump-zlib', 'kdump-lzo', 'kdump-snappy'];
const found = missing === '' ? await findDebianGuest('amd64') : { value: undefined as never, missing };

describe.skipIf(found.missing !== '')(titled('Debian in QEMU', found), () => {
  let folder: string, qemu: Qemu, shell: QemuShell, pid: number;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'visorkit-qemu-'));
    const guest = bootedOf(found.value);
    await writeFile(join(folder, 'initrd'), Buffer.concat([await readFile(guest.initramfs!), guest.files!]));
    const words = `console=ttyS0 ${guest.append} ${guestParameters({ mode: 'shell' })}`;
    qemu = new Qemu(folder, [
      ...['-m', '256', '-cpu', 'max', '-serial', 'stdio', '-kernel', found.value.kernel],
      ...['-initrd', join(folder, 'initrd'), '-append', words],
    ]);
    await qemu.connect();
    shell = new QemuShell(qemu);
    await shell.prompt();
    await shell.answer('/planted one "two three" & sleep 1; echo planted $!');
    pid = Number(await shell.answer('pidof planted'));
  }, BOOT_TIMEOUT);
  afterAll(async () => {
    qemu?.kill();
    await rm(folder, { recursive: true, force: true });
  });

  it.each(FORMATS)('says the same of itself as is found in its dump, %s', { timeout: BOOT_TIMEOUT }, async (format) => {
    if (planted().length === 0) return console.log('not compared: there is no gcc that makes the program to be found');
    const { formats } = await qemu.ask<{ formats: string[] }>('query-dump-guest-memory-capability');
    if (!formats.includes(format)) return console.log(`not compared: this QEMU cannot write ${format}`);
    const path = join(folder, format);
    await qemu.ask('dump-guest-memory', { paging: false, protocol: `file:${path}`, format });
    using dump = await openDumpFile(path);
    const kernel = LinuxKernel.find(dump.memory, dump.known)!;
    expect(kernel.release).toBe(await shell.answer('uname -r'));
    for (const compared of [
      await says.processes(shell, kernel),
      await says.threads(shell, kernel, pid),
      await says.mappings(shell, kernel, pid),
      await says.openFiles(shell, kernel, pid),
      await says.mounts(shell, kernel, pid),
    ])
      expect(compared.introspection).toEqual(compared.guest);
    expect(kernel.argumentsOf(says.taskOf(kernel, pid))).toEqual(['/planted', 'one', 'two three']);
    expect(says.sockets(kernel, pid)).toEqual(says.PLANTED_SOCKETS);
    expect(dump.hints.cpus).toHaveLength(1);
  });
});
