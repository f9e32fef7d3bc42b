/** `/proc` and `/dev`, who the process is, and calls that are refused. */
import { tmpdir } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { Errno, TestSandbox } from './testing.js';

let sandbox: TestSandbox;
const text = (path: string): string | number => {
  const file = sandbox.call('open', path, 0, 0);
  return file < 0 ? file : sandbox.read(file, 4000);
};
const list = (path: string): string[] => {
  const folder = sandbox.call('open', path, 0o200000, 0),
    at = sandbox.memory.room(8000),
    count = sandbox.call('getdents64', folder, at, 8000),
    names: string[] = [];
  for (let offset = 0; offset < count; offset += sandbox.memory.readU16(at + offset + 16))
    names.push(sandbox.memory.readString(at + offset + 19));
  return names;
};
beforeEach(() => {
  sandbox = new TestSandbox();
});

describe('/proc', () => {
  it('self is the process that looks', () => {
    expect(text('/proc/self/comm')).toBe('program\n');
    expect(text('/proc/self/status')).toMatch(/^Name:\tprogram\n[\s\S]*\nPid:\t2\nPPid:\t1\n/);
    const child = sandbox.fork(5);
    child.starts({ execName: '/bin/other-name', args: ['other', 'x'], env: [] });
    expect(text('/proc/self/comm')).toBe('other-name\n');
    expect(text('/proc/self/status')).toMatch(/\nPid:\t5\nPPid:\t2\n/);
    expect(text('/proc/2/cmdline')).toBe('program\0one\0');
    expect(text('/proc/2/environ')).toBe('');
  });

  it('has a directory for each process for as long as it lives', () => {
    const child = sandbox.fork(7);
    expect(list('/proc')).toEqual(expect.arrayContaining(['2', '7', 'self']));
    sandbox.processes.end(child);
    expect(text('/proc/7/comm')).toBe(-Errno.ENOENT);
    expect(list('/proc')).not.toContain('7');
  });

  it('fd lists descriptors', () => {
    sandbox.call('open', '/tmp', 0, 0);
    expect(list('/proc/self/fd')).toEqual(['.', '..', '0', '1']);
  });

  it('mounts are those of the sandbox', () => {
    sandbox.process.space.mount(tmpdir(), '/a b', true);
    expect(text('/proc/mounts')).toBe('root / tmpfs rw 0 0\nhost /a\\040b visorkit ro 0 0\n');
    expect(text('/proc/self/mountinfo')).toBe(
      '20 1 0:20 / / rw - tmpfs root rw\n21 20 0:21 / /a\\040b ro - visorkit host ro\n',
    );
    sandbox.processes.dispose();
  });

  it('auxv is what the program was started with', () => {
    sandbox.process.auxiliary = Uint8Array.from({ length: 32 }, (_, i) => i);
    const file = sandbox.call('open', '/proc/self/auxv', 0, 0),
      at = sandbox.memory.room(64);
    expect(sandbox.call('read', file, at, 64)).toBe(32);
    expect([...sandbox.memory.read(at, 32)]).toEqual([...sandbox.process.auxiliary]);
  });
});

it('devices give what they are for', () => {
  expect(text('/dev/null')).toBe('');
  const zero = sandbox.call('open', '/dev/zero', 0, 0);
  expect(sandbox.read(zero, 3)).toBe('\0\0\0');
  expect(sandbox.write(sandbox.call('open', '/dev/full', 1, 0), 'x')).toBe(-Errno.ENOSPC);
  expect(sandbox.call('open', '/dev/tty', 0o1101, 0o600)).toBe(-Errno.ENXIO); // there is no terminal
});

describe('who it is', () => {
  it('stays so', () => {
    expect([sandbox.call('getuid'), sandbox.call('getgid')]).toEqual([1000, 100]);
    expect([sandbox.call('setuid', 1000), sandbox.call('setuid', 0)]).toEqual([0, -Errno.EPERM]);
  });

  it('has limits of its own, which a child gets', () => {
    const at = sandbox.memory.room(16);
    sandbox.memory.writeU64(at, 100);
    sandbox.memory.writeU64(at + 8, 200);
    expect(sandbox.call('setrlimit', 0, at)).toBe(0);
    const child = sandbox.fork(3);
    expect(child.rlimits.get(0)).toEqual([100n, 200n]);
    sandbox.memory.writeU64(at + 8, 300);
    expect(sandbox.call('setrlimit', 0, at)).toBe(-Errno.EPERM);
    expect(sandbox.process.files.limit).toBe(1024);
  });

  it('has a name', () => {
    sandbox.call('prctl', 15, 'a name that is too long');
    expect(sandbox.process.comm).toBe('a name that is ');
  });
});

it('what leads outside is refused', () => {
  for (const name of ['mount', 'ptrace', 'chroot', 'reboot', 'bpf', 'io_uring_setup'])
    expect(sandbox.call(name, 0, 0, 0)).toBe(-Errno.EPERM);
});

it('every row has a name that Linux knows, and most are served here', () => {
  const served = Array.from({ length: 500 }, (_, number) => sandbox.table.get(number)).filter(
    (row) => row?.serve !== undefined,
  );
  expect(served.length).toBeGreaterThan(180);
});
