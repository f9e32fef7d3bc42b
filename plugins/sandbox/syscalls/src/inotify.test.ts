/** inotify: its rules one by one. That whole courses of events agree with Linux is run-elf's guest/watches.c. */
import { Poll } from '@visorkit/linux-abi';
import { beforeEach, describe, expect, it } from 'vitest';
import { IN } from './file-watches.js';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const NONBLOCK = 0o4000,
  RDWR = 2,
  CREAT = 0o100;
const ALL = 0xfff,
  ONLYDIR = 0x0100_0000,
  MASK_CREATE = 0x1000_0000,
  MASK_ADD = 0x2000_0000,
  ONESHOT = 0x8000_0000;
let sandbox: TestSandbox, inotify: number;
beforeEach(() => {
  sandbox = new TestSandbox();
  inotify = sandbox.call('inotify_init1', NONBLOCK);
  sandbox.call('mkdir', '/tmp/d', 0o700);
});

const watch = (path: string, mask: number = ALL): number => sandbox.call('inotify_add_watch', inotify, path, mask);
const open = (path: string, flags = RDWR | CREAT): number => sandbox.call('open', path, flags, 0o600);
const NAMES = new Map(Object.entries(IN).map(([name, bit]) => [bit as number, name]));

/** What came, as `number EVENT|… name`. */
function events(): string[] {
  const at = sandbox.memory.room(4096),
    count = sandbox.call('read', inotify, at, 4096),
    found: string[] = [];
  if (count < 0) return [];
  for (let i = at; i < at + count; ) {
    const [mask, length] = [sandbox.memory.readU32(i + 4), sandbox.memory.readU32(i + 12)];
    const kinds = Array.from({ length: 32 }, (_, bit) => (1 << bit) >>> 0)
      .filter((bit) => (mask & bit) !== 0)
      .map((bit) => NAMES.get(bit));
    const name = length === 0 ? '' : ` ${sandbox.memory.readString(i + 16)}`;
    found.push(`${sandbox.memory.readI32(i)} ${kinds.join('|')}${name}`);
    i += 16 + length;
  }
  return found;
}

describe('a folder that is watched', () => {
  it('tells of its files: made, open, written, read, closed', () => {
    expect(watch('/tmp/d')).toBe(1);
    const file = open('/tmp/d/f');
    sandbox.write(file, 'x');
    sandbox.write(file, 'y'); // the same event again is one
    sandbox.call('lseek', file, 0, 0);
    sandbox.read(file);
    sandbox.call('close', file);
    expect(events()).toEqual(['1 CREATE f', '1 OPEN f', '1 MODIFY f', '1 ACCESS f', '1 CLOSE_WRITE f']);
    sandbox.call('close', open('/tmp/d/f', 0));
    expect(events()).toEqual(['1 OPEN f', '1 CLOSE_NOWRITE f']);
  });

  it('tells of names that come and go, and which belong together', () => {
    watch('/tmp/d');
    sandbox.call('mkdir', '/tmp/d/in', 0o700);
    sandbox.call('rename', '/tmp/d/in', '/tmp/d/out');
    sandbox.call('rmdir', '/tmp/d/out');
    sandbox.call('symlink', 'x', '/tmp/d/link');
    sandbox.call('unlink', '/tmp/d/link');
    expect(events()).toEqual([
      '1 CREATE|ISDIR in',
      '1 MOVED_FROM|ISDIR in',
      '1 MOVED_TO|ISDIR out',
      '1 DELETE|ISDIR out',
      '1 CREATE link',
      '1 DELETE link',
    ]);
  });

  it('tells of changes by name and by descriptor', () => {
    const file = open('/tmp/d/f');
    watch('/tmp/d');
    sandbox.call('chmod', '/tmp/d/f', 0o640);
    expect(events()).toEqual(['1 ATTRIB f']);
    sandbox.call('fchmod', file, 0o600);
    sandbox.call('truncate', '/tmp/d/f', 1);
    sandbox.call('ftruncate', file, 0);
    expect(events()).toEqual(['1 ATTRIB f', '1 MODIFY f']);
  });

  it('knows a file that was open before under the name that it has now', () => {
    const file = open('/tmp/d/f');
    watch('/tmp/d', IN.MODIFY);
    sandbox.write(file, 'x');
    sandbox.call('rename', '/tmp/d/f', '/tmp/d/g');
    sandbox.write(file, 'x');
    sandbox.call('unlink', '/tmp/d/g');
    sandbox.write(file, 'x');
    expect(events()).toEqual(['1 MODIFY f', '1 MODIFY g']);
  });

  it('is no longer watched when it is gone', () => {
    watch('/tmp/d');
    sandbox.call('rmdir', '/tmp/d');
    expect(events()).toEqual(['1 DELETE_SELF', '1 IGNORED']);
    expect(sandbox.call('inotify_rm_watch', inotify, 1)).toBe(-Errno.EINVAL);
  });
});

describe('a file that is watched', () => {
  it('is gone with its last name and the last who has it open', () => {
    const file = open('/tmp/d/f');
    watch('/tmp/d/f', IN.ATTRIB | IN.DELETE_SELF);
    sandbox.call('link', '/tmp/d/f', '/tmp/d/g');
    sandbox.call('unlink', '/tmp/d/f');
    sandbox.call('unlink', '/tmp/d/g');
    expect(events()).toEqual(['1 ATTRIB']);
    sandbox.call('close', file);
    expect(events()).toEqual(['1 DELETE_SELF', '1 IGNORED']);
  });

  it('can be replaced', () => {
    sandbox.call('close', open('/tmp/d/f'));
    sandbox.call('close', open('/tmp/d/g'));
    watch('/tmp/d/f', ALL);
    watch('/tmp/d/g', ALL);
    sandbox.call('rename', '/tmp/d/f', '/tmp/d/g');
    expect(events()).toEqual(['2 ATTRIB', '1 MOVE_SELF', '2 DELETE_SELF', '2 IGNORED']);
  });
});

describe('a watch', () => {
  it('is changed, or added to, by watching the same file again', () => {
    expect([watch('/tmp/d', IN.CREATE), watch('/tmp/d', IN.DELETE | MASK_ADD)]).toEqual([1, 1]);
    sandbox.call('close', open('/tmp/d/f'));
    sandbox.call('unlink', '/tmp/d/f');
    expect(events()).toEqual(['1 CREATE f', '1 DELETE f']);
    watch('/tmp/d', IN.DELETE);
    sandbox.call('close', open('/tmp/d/f'));
    expect([events(), watch('/tmp/d', IN.CREATE | MASK_CREATE)]).toEqual([[], -Errno.EEXIST]);
  });

  it('ends when it is taken away, or after one event', () => {
    watch('/tmp/d', IN.CREATE);
    expect(sandbox.call('inotify_rm_watch', inotify, 1)).toBe(0);
    expect([events(), watch('/tmp/d', IN.CREATE | ONESHOT)]).toEqual([['1 IGNORED'], 2]);
    open('/tmp/d/f');
    open('/tmp/d/g');
    expect(events()).toEqual(['2 CREATE f', '2 IGNORED']);
  });

  it('of nothing, of no folder, of no file is refused', () => {
    open('/tmp/d/f');
    expect([
      watch('/tmp/d', 0),
      watch('/tmp/d/f', IN.OPEN | ONLYDIR),
      watch('/tmp/no'),
      watch('/tmp/d', IN.OPEN | MASK_ADD | MASK_CREATE),
      sandbox.call('inotify_add_watch', 77, '/tmp/d', ALL),
      sandbox.call('inotify_init1', 1),
    ]).toEqual([-Errno.EINVAL, -Errno.ENOTDIR, -Errno.ENOENT, -Errno.EINVAL, -Errno.EBADF, -Errno.EINVAL]);
  });
});

describe('reading', () => {
  it('waits, gives whole events, and says how much there is', () => {
    const waits = sandbox.call('inotify_init'),
      at = sandbox.memory.room(64);
    expect(sandbox.call('read', waits, at, 64)).toBe(BLOCKED);
    watch('/tmp/d', IN.CREATE);
    open('/tmp/d/a-name-of-sixteen');
    open('/tmp/d/b');
    sandbox.call('ioctl', inotify, 0x541b, at);
    expect([sandbox.memory.readU32(at), sandbox.process.files.get(inotify).poll()]).toEqual([48 + 32, Poll.IN]);
    expect([sandbox.call('read', inotify, at, 47), sandbox.call('read', inotify, at, 64)]).toEqual([-Errno.EINVAL, 48]);
    expect(events()).toEqual(['1 CREATE b']);
  });

  it('tells when too much came', () => {
    watch('/tmp/d', IN.ATTRIB | IN.OPEN);
    const file = open('/tmp/d/f');
    for (let i = 0; i < 9000; i++) {
      sandbox.call('fchmod', file, 0o600);
      sandbox.process.files.close(sandbox.process.files.add(sandbox.process.files.get(file)));
      sandbox.call('close', open('/tmp/d/f', 0));
    }
    let last: string[] = [];
    for (let now = events(); now.length > 0; now = events()) last = now;
    expect(last.at(-1)).toBe('-1 Q_OVERFLOW');
    sandbox.call('fchmod', file, 0o600);
    expect(events()).toEqual(['1 ATTRIB f']);
  });

  it('is bounded for all of a sandbox together, and closing gives back', () => {
    sandbox.process.files.limit = 300;
    const many = Array.from({ length: 128 }, () => sandbox.call('inotify_init1', NONBLOCK));
    expect([many.at(-2)! > 0, many.at(-1)]).toEqual([true, -Errno.EMFILE]);
    sandbox.call('close', many[0]);
    expect(sandbox.call('inotify_init1', NONBLOCK)).toBe(many[0]);
  });

  it('costs nothing when the last who watches is gone', () => {
    watch('/tmp/d');
    sandbox.call('close', inotify);
    open('/tmp/d/f');
    expect(sandbox.wakes).toBe(0);
  });
});
