/** execve as far as the host has it: which file, whether it may run, scripts, arguments. */
import { beforeEach, describe, expect, it } from 'vitest';
import { scriptInterpreter } from './executing.js';
import { Errno, TestSandbox } from './testing.js';

let sandbox: TestSandbox;
const make = (path: string, text: string, mode = 0o755): void => {
  const file = sandbox.call('open', path, 0o102, mode);
  sandbox.write(file, text);
  sandbox.call('fchmod', file, mode);
  sandbox.call('close', file);
};
const strings = (...texts: readonly string[]): number => {
  const at = sandbox.memory.room(8 * (texts.length + 1));
  texts.forEach((text, i) => sandbox.memory.writeU64(at + 8 * i, sandbox.memory.put(text)));
  return at;
};
const execute = (path: string, ...args: readonly string[]): number =>
  sandbox.call('execve', path, strings(...args), strings('A=b'));
const started = () => sandbox.started.map(({ path, execName, args, env }) => ({ path, execName, args, env }));
beforeEach(() => {
  sandbox = new TestSandbox();
  make('/tmp/program', '\x7fELF');
});

describe('execve', () => {
  it('gives the program, by its own path, and what it was called', () => {
    sandbox.call('symlink', 'program', '/tmp/link');
    sandbox.call('chdir', '/tmp');
    expect(execute('./link', 'name', 'one')).toBe(0);
    expect(started()).toEqual([{ path: '/tmp/program', execName: './link', args: ['name', 'one'], env: ['A=b'] }]);
  });

  it('refuses what is no file, is not there, or may not run', () => {
    make('/tmp/plain', 'x', 0o644);
    make('/tmp/group', 'x', 0o607);
    expect(execute('/missing', 'x')).toBe(-Errno.ENOENT);
    expect(execute('/tmp', 'x')).toBe(-Errno.EACCES);
    expect(execute('/tmp/plain', 'x')).toBe(-Errno.EACCES);
    expect(execute('/tmp/group', 'x')).toBe(-Errno.EACCES); // the owner has no x, whatever others have
    expect(execute('/tmp/program/x', 'x')).toBe(-Errno.ENOTDIR);
    expect(sandbox.call('execve', 8, 0, 0)).toBe(-Errno.EFAULT);
    expect(sandbox.started).toEqual([]);
  });

  it('runs a script by its interpreter, with the one argument that it may have', () => {
    make('/tmp/script', '#! /tmp/program  -a b \nrest');
    execute('/tmp/script', 'ignored', 'one');
    expect(started()).toMatchObject([
      { path: '/tmp/program', execName: '/tmp/program', args: ['/tmp/program', '-a b', '/tmp/script', 'one'] },
    ]);
  });

  it('follows scripts of scripts, and stops', () => {
    make('/tmp/a', '#!/tmp/b\n');
    make('/tmp/b', '#!/tmp/program\n');
    expect(execute('/tmp/a', 'x')).toBe(0);
    expect(started()[0].args).toEqual(['/tmp/program', '/tmp/b', '/tmp/a']);
    make('/tmp/loop', '#!/tmp/loop\n');
    expect(execute('/tmp/loop', 'x')).toBe(-Errno.ELOOP);
  });

  it('has limits for one argument and for all', () => {
    expect(execute('/tmp/program', 'x'.repeat(131_071))).toBe(0);
    expect(execute('/tmp/program', 'x'.repeat(131_072))).toBe(-Errno.E2BIG);
    const text = sandbox.memory.put('y'.repeat(100_000)),
      many = sandbox.memory.room(8 * 40);
    for (let i = 0; i < 30; i++) sandbox.memory.writeU64(many + 8 * i, text);
    expect(sandbox.call('execve', '/tmp/program', many, 0)).toBe(-Errno.E2BIG);
  });

  it('finds a file by descriptor alone', () => {
    const file = sandbox.call('open', '/tmp/program', 0, 0);
    expect(sandbox.call('execveat', file, '', strings('x'), 0, 0)).toBe(-Errno.ENOENT);
    expect(sandbox.call('execveat', file, '', strings('x'), 0, 0x1000)).toBe(0);
    expect(started()).toMatchObject([{ path: '/tmp/program' }]);
    expect(sandbox.call('execveat', 77, '', strings('x'), 0, 0x1000)).toBe(-Errno.EBADF);
  });

  it('of /proc/self/exe starts the program itself', async () => {
    const { ProgramFile } = await import('@visorkit/linux-abi');
    const found = sandbox.process.space.resolve({ names: [] }, '/tmp/program', { follow: true });
    sandbox.process.program = new ProgramFile(found.node!, '/tmp/program');
    expect(execute('/proc/self/exe', 'again')).toBe(0);
    expect(started()).toMatchObject([{ path: '/tmp/program', execName: '/proc/self/exe' }]);
  });
});

describe('the first line of a script', () => {
  it.each<[string, readonly string[] | undefined]>([
    ['#!/bin/sh', ['/bin/sh']],
    ['#! \t/bin/sh\t-e x \n', ['/bin/sh', '-e x']],
    ['#!/bin/sh\n-e', ['/bin/sh']],
    ['\x7fELF', undefined],
    ['# !/bin/sh', undefined],
  ])('%j', (text, expected) => expect(scriptInterpreter(Buffer.from(text, 'latin1'))).toEqual(expected));

  it('without a name is no program', () => {
    expect(() => scriptInterpreter(Buffer.from('#!  \nx'))).toThrow(expect.objectContaining({ errno: Errno.ENOEXEC }));
  });
});
