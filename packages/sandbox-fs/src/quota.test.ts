/** What a program may write is counted over memory and mounts together, and what goes beyond fails with EDQUOT. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryFs, Namespace, OpenFlag, WriteQuota, bytesFile, errnoName, errnoOf } from './index.js';
import type { Directory, WriteLimits } from './index.js';

let host: string;
beforeEach(() => {
  host = mkdtempSync(join(tmpdir(), 'visorkit-quota-'));
});
afterEach(() => rmSync(host, { recursive: true, force: true }));

function open(limits: WriteLimits, maxNames?: number): { memory: Directory; mount: Directory; fs: MemoryFs } {
  const fs = new MemoryFs({
    limit: 1 << 20,
    uid: 0,
    gid: 0,
    now: () => 0n,
    ...(maxNames === undefined ? {} : { maxNames }),
  });
  const quota = new WriteQuota(limits);
  const space = new Namespace(fs.root, quota);
  space.mount(host, '/host', false);
  fs.quota = quota;
  return { memory: fs.root, mount: space.openDirectory(['host']), fs };
}

const failure = (change: () => unknown): string | undefined => {
  try {
    change();
  } catch (error) {
    return errnoName(errnoOf(error));
  }
  return undefined;
};
const bytes = (count: number): Uint8Array => new Uint8Array(count).fill(0x61);

// Mounts need a Linux host
describe.skipIf(process.platform !== 'linux')('bytes', () => {
  it('are counted over memory and mounts together; the last write is cut short, the next one fails', () => {
    const { memory, mount } = open({ bytes: 100 });
    const a = memory.create('a', 0o644, OpenFlag.RDWR);
    const b = mount.create('b', 0o644, OpenFlag.RDWR);
    expect([a.write(bytes(30), 0, false), b.write(bytes(30), 0, false)]).toEqual([30, 30]);
    // What is overwritten counts too
    expect([a.write(bytes(30), 0, false), b.write(bytes(30), 0, false)]).toEqual([30, 10]);
    expect(failure(() => a.write(bytes(1), 0, false))).toBe('EDQUOT');
    expect(failure(() => b.write(bytes(1), 0, false))).toBe('EDQUOT');
    expect([a.write(bytes(0), 0, false), b.write(bytes(0), 0, false)]).toEqual([0, 0]);
    expect(readFileSync(join(host, 'b'), 'latin1')).toBe('a'.repeat(30));
    for (const file of [a, b]) file.close();
  });

  it('of files that are made longer count, those of shorter ones do not', () => {
    const { memory, mount } = open({ bytes: 100 });
    for (const folder of [memory, mount]) {
      const file = folder.create('f', 0o644, OpenFlag.RDWR);
      file.truncate(40);
      file.truncate(0);
      expect(failure(() => file.truncate(101))).toBe('EDQUOT');
      expect(file.stat().size).toBe(0);
      file.close();
    }
    const last = memory.create('g', 0o644, OpenFlag.RDWR);
    expect(failure(() => last.truncate(21))).toBe('EDQUOT');
    last.truncate(20);
  });
});

describe.skipIf(process.platform !== 'linux')('files', () => {
  it('of every kind are counted, and not those that could not be made', () => {
    const { memory, mount } = open({ files: 7 });
    memory.create('a', 0o644, OpenFlag.RDWR);
    expect(failure(() => memory.create('a', 0o644, OpenFlag.RDWR))).toBe('EEXIST');
    memory.makeDirectory('b', 0o755);
    memory.makeSymlink('c', 'a');
    memory.link('a', memory, 'd');
    mount.create('e', 0o644, OpenFlag.RDWR).close();
    mount.makeDirectory('f', 0o755);
    expect(failure(() => mount.makeDirectory('f', 0o755))).toBe('EEXIST');
    mount.makeSymlink('g', 'e');
    memory.unlink('a'); // what was made stays counted
    for (const folder of [memory, mount]) {
      expect(failure(() => folder.create('h', 0o644, OpenFlag.RDWR))).toBe('EDQUOT');
      expect(failure(() => folder.makeDirectory('h', 0o755))).toBe('EDQUOT');
      expect(failure(() => folder.makeSymlink('h', 'e'))).toBe('EDQUOT');
      expect(failure(() => folder.link(folder === memory ? 'd' : 'e', folder, 'h'))).toBe('EDQUOT');
    }
    expect(readdirSync(host).sort()).toEqual(['e', 'f', 'g']);
    memory.rename('d', memory, 'i'); // makes nothing
    expect(existsSync(join(host, 'h'))).toBe(false);
  });
});

describe('memory', () => {
  it('holds so many names, and gives the room of deleted ones back', () => {
    const { memory, fs } = open({}, 12);
    const before = fs.stat().filesFree;
    for (let i = 0; i < before; i++) memory.makeSymlink(`l${i}`, 'x');
    expect(failure(() => memory.create('more', 0o644, 0))).toBe('ENOSPC');
    expect(fs.stat().filesFree).toBe(0);
    memory.unlink('l0');
    memory.rename('l1', memory, 'l2');
    expect(fs.stat().filesFree).toBe(2);
    memory.makeDirectory('folder', 0o755);
    memory.create('file', 0o644, 0);
    memory.removeDirectory('folder');
    memory.unlink('file');
    expect(fs.stat().filesFree).toBe(2);
  });

  it('of a file without a name is taken until it is closed', () => {
    const { memory, fs } = open({});
    const [one, two] = [memory.create('f', 0o644, 0), memory.lookup('f')!.open(OpenFlag.RDWR)];
    one.write(bytes(1 << 20), 0, false);
    memory.unlink('f');
    const other = memory.create('g', 0o644, 0);
    expect(failure(() => other.write(bytes(1), 0, false))).toBe('ENOSPC');
    one.close();
    one.close();
    expect(fs.used).toBe(1 << 20);
    two.close();
    expect(fs.used).toBe(0);
    expect(other.write(bytes(1), 0, false)).toBe(1);
  });

  it('is a file that was given as bytes, which cannot be written', () => {
    const file = bytesFile(open({}).fs, Uint8Array.of(1, 2, 3));
    expect(file.stat()).toMatchObject({ size: 3, mode: 0o100555 });
    const target = new Uint8Array(8);
    expect(file.open(OpenFlag.RDONLY).read(target, 1)).toBe(2);
    expect(target.subarray(0, 2)).toEqual(Uint8Array.of(2, 3));
    expect(failure(() => file.open(OpenFlag.RDWR))).toBe('ETXTBSY');
  });
});

it('a quota that is not there limits nothing', () => {
  const quota = new WriteQuota({});
  quota.spend(1e15);
  quota.checkGrowth(1e15);
  quota.checkFile();
  expect(quota.room(5)).toBe(5);
});
