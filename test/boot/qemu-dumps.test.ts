/** Dumps that QEMU writes, beside the memory that it says the guest has: every format of `dump-guest-memory` that this QEMU can write. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { openDumpFile, writeDumpFile } from '@visorkit/project/introspection';
import type { OpenDump } from '@visorkit/project/introspection';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { titled } from './boots.js';

const QEMU = 'qemu-system-x86_64';
const MEGABYTES = 48;
const PAGE = 4096;
/** Where the content is that is put into the guest. */
const AT = 0x100_0000;
const missing = spawnSync(QEMU, ['--version']).status === 0 ? '' : `${QEMU} is not installed`;

/** A machine that never runs, spoken to in QMP. */
class PausedQemu {
  readonly #process: ChildProcess;
  #socket!: Socket;
  #answers!: AsyncIterator<string>;

  constructor(private readonly folder: string) {
    this.#process = spawn(
      QEMU,
      [
        ...['-machine', 'pc,accel=tcg', '-m', `${MEGABYTES}`, '-smp', '2', '-nodefaults', '-display', 'none', '-S'],
        ...['-device', `loader,file=${join(folder, 'content')},addr=${AT},force-raw=on`],
        ...['-qmp', `unix:${join(folder, 'qmp')},server=on,wait=off`],
      ],
      { stdio: 'ignore' },
    );
  }

  async connect(): Promise<void> {
    const path = join(this.folder, 'qmp');
    // The socket is there before QEMU listens
    for (let tries = 0; ; tries++) {
      this.#socket = createConnection(path);
      const refused = await once(this.#socket, 'connect').then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused === undefined) break;
      if (tries > 400 || this.#process.exitCode !== null) throw refused;
      await delay(25);
    }
    this.#answers = createInterface(this.#socket)[Symbol.asyncIterator]();
    await this.#answers.next();
    await this.ask('qmp_capabilities');
  }

  async ask<Answer = unknown>(execute: string, args: object = {}): Promise<Answer> {
    this.#socket.write(JSON.stringify({ execute, arguments: args }));
    for (;;) {
      const { value, done } = await this.#answers.next();
      if (done) throw new Error('QEMU is gone');
      const answer = JSON.parse(value) as { return?: Answer; error?: { desc: string } };
      if (answer.error !== undefined) throw new Error(`${execute}: ${answer.error.desc}`);
      if (answer.return !== undefined) return answer.return;
    }
  }

  kill(): void {
    this.#socket?.destroy();
    this.#process.kill('SIGKILL');
  }
}

describe.skipIf(missing !== '')(titled('Dumps of QEMU', { missing, value: undefined }), () => {
  let folder: string, qemu: PausedQemu, truth: Buffer, formats: string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'visorkit-qemu-'));
    // Code, as a kernel is; and bytes that cannot be packed; the rest of memory is zeros
    const program = readFileSync(process.execPath).subarray(0x40_0000, 0xc0_0000);
    const noise = Buffer.alloc(0x10_0000);
    for (let at = 0, state = 1; at < noise.length; at += 4)
      noise.writeUInt32LE((state = (Math.imul(state, 1664525) + 1013904223) >>> 0), at);
    await writeFile(join(folder, 'content'), Buffer.concat([program, noise]));
    qemu = new PausedQemu(folder);
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
