/** What a guest says of itself at its prompt, and the same as introspection has it: line by line, for tests that compare the two. */
import type { LinuxKernel } from '@visorkit/os-linux';
import type { LiveMemory } from '@visorkit/vmi';
import { expect } from 'vitest';
import type { Machine } from './boots.js';

/** Whoever types at a guest's prompt, and reads what comes. */
export type Shell = Pick<GuestShell, 'answer' | 'lines'>;

/** A guest of ours whose shell waits for a line. */
export class GuestShell {
  constructor(
    readonly machine: Machine,
    readonly live: LiveMemory,
  ) {}

  /** What the shell writes for a line that is typed. */
  async answer(line: string): Promise<string> {
    const { machine } = this;
    const before = machine.console.text.length;
    machine.input.push(Buffer.from(`echo be""gin; ${line}; echo t""he-end\n`));
    while (!machine.console.text.slice(before).includes('the-end\r\n')) {
      const { reason } = await machine.vmm.run({ maxInstructions: 20_000_000 });
      expect(reason).toBe('max-instructions');
    }
    this.live.advance();
    const text = machine.console.text.slice(before);
    return text.slice(text.indexOf('begin\r\n') + 7, text.indexOf('the-end\r\n')).trimEnd();
  }

  /** The same, line by line. */
  async lines(line: string): Promise<string[]> {
    return (await this.answer(line)).split(/\r?\n/);
  }
}

/** Two accounts of one thing. */
export interface Compared {
  readonly guest: readonly string[];
  readonly introspection: readonly string[];
}

const hex = (value: bigint): string => value.toString(16).padStart(8, '0');

/** /proc shows whole names of kernel threads, and behind a dash or a plus sign what a worker last did. */
const plain = (name: string): string => name.replace(/^(kworker\/[^-+]*)[-+].*/, '$1').slice(0, 15);

/** Number, parent, user and name of every process. Builtins of the shell alone: none comes or goes meanwhile. */
export async function processes(shell: Shell, kernel: LinuxKernel): Promise<Compared> {
  const seen = await shell.lines(
    'for p in /proc/[0-9]*; do while read k v r; do case $k in Name:) n=$v;; Pid:) i=$v;; PPid:) f=$v;; Uid:) echo $i $f $v $n;; esac; done < $p/status; done',
  );
  return {
    introspection: [...kernel.processes()]
      .filter(({ pid }) => pid !== 0)
      .map(({ pid, ppid, uid, name }) => `${pid} ${ppid} ${uid} ${plain(name)}`)
      .sort(),
    guest: seen.map((line) => line.replace(/\S+$/, plain)).sort(),
  };
}

export async function environment(shell: Shell, kernel: LinuxKernel, pid: number): Promise<Compared> {
  return {
    introspection: kernel.environmentOf(taskOf(kernel, pid)),
    guest: await shell.lines(`tr '\\0' '\\n' < /proc/${pid}/environ`),
  };
}

/** Numbers and names; then state and start of the first, in hundredths of a second as /proc has it. */
export async function threads(shell: Shell, kernel: LinuxKernel, pid: number): Promise<Compared> {
  const seen = await shell.lines(`for t in /proc/${pid}/task/*; do echo \${t##*/} $(cat $t/comm); done`);
  const state = await shell.answer(`cut -d' ' -f3,22 /proc/${pid}/stat`);
  const found = [...kernel.threads(taskOf(kernel, pid))];
  return {
    introspection: [
      ...found.map(({ pid: number, name }) => `${number} ${name}`).sort(),
      `${found[0].state} ${found[0].startTime! / 10_000_000n}`,
    ],
    guest: [...seen.sort(), state],
  };
}

/** As /proc/PID/maps; the page of the old time calls belongs to no process. */
export async function mappings(shell: Shell, kernel: LinuxKernel, pid: number): Promise<Compared> {
  const shown = (await shell.lines(`cat /proc/${pid}/maps`)).map((line) => line.replace(/ +/g, ' ').trim());
  return {
    introspection: [...kernel.mappings(taskOf(kernel, pid))].map(
      ({ start, end, rights, offset, device, inode, path }) =>
        `${hex(start)}-${hex(end)} ${rights} ${hex(offset)} ${device} ${inode} ${path}`.trim(),
    ),
    guest: shown.filter((line) => !line.includes('[vsyscall]')),
  };
}

/** Descriptors and paths. */
export async function openFiles(shell: Shell, kernel: LinuxKernel, pid: number): Promise<Compared> {
  const seen = await shell.lines(`for f in /proc/${pid}/fd/*; do echo "\${f##*/} $(readlink "$f")"; done`);
  return {
    introspection: [...kernel.openFiles(taskOf(kernel, pid))]
      .map(({ descriptor, path }) => `${descriptor} ${path}`)
      .sort(),
    guest: seen.sort(),
  };
}

export async function mounts(shell: Shell, kernel: LinuxKernel, pid: number): Promise<Compared> {
  return {
    introspection: [...kernel.mounts(taskOf(kernel, pid))].map(
      ({ device, path, type, readOnly }) => `${device} ${path} ${type} ${readOnly ? 'ro' : 'rw'}`,
    ),
    guest: (await shell.lines(`cat /proc/${pid}/mounts`)).map((line) => {
      const [device, path, type, options] = line.split(' ');
      return `${device} ${path} ${type} ${options.split(',')[0]}`;
    }),
  };
}

/** What `planted` has, whose ports the kernel chose. */
export const PLANTED_SOCKETS = [
  'inet stream tcp LISTEN 127.0.0.1:4242 0.0.0.0:0',
  'inet stream tcp ESTABLISHED 127.0.0.1:PORT 127.0.0.1:4242',
  'inet stream tcp ESTABLISHED 127.0.0.1:4242 127.0.0.1:PORT',
  'inet dgram udp CLOSE 127.0.0.1:5353 0.0.0.0:0',
  'unix stream  LISTEN /tmp/planted.sock ',
  'unix dgram  CLOSE @abstract ',
  'netlink raw  CLOSE  ',
  'inet6 dgram udp CLOSE [::1]:4343 [::]:0',
  'unix stream  ESTABLISHED  ',
  'unix stream  ESTABLISHED  ',
];

export const sockets = (kernel: LinuxKernel, pid: number): string[] =>
  [...kernel.openFiles(taskOf(kernel, pid))]
    .flatMap(({ socket }) => (socket === undefined ? [] : [socket]))
    .map(({ family, type, protocol, state, local, remote }) =>
      [family, type, protocol, state, local, remote].join(' ').replace(/\b:(?!4242|5353|0\b)\d+/g, ':PORT'),
    );

/** The kernel's log. */
export async function log(shell: Shell, kernel: LinuxKernel): Promise<Compared> {
  const shown = await shell.lines('dmesg');
  return {
    introspection: [...kernel.log()].flatMap(({ microseconds, text }) =>
      text.split('\n').map((line) => `[${(microseconds / 1e6).toFixed(6).padStart(12)}] ${line}`.trimEnd()),
    ),
    guest: shown.map((line) => line.trimEnd()),
  };
}

export async function iomem(shell: Shell, kernel: LinuxKernel): Promise<Compared> {
  return {
    introspection: [...kernel.iomem()].map(
      ({ start, end, name, depth }) => `${'  '.repeat(depth)}${hex(start)}-${hex(end)} : ${name}`,
    ),
    guest: await shell.lines('cat /proc/iomem'),
  };
}

/** Address of a process's task_struct. */
export function taskOf(kernel: LinuxKernel, pid: number): bigint {
  const found = [...kernel.processes()].find((process) => process.pid === pid);
  if (found === undefined) throw new Error(`The guest has no process ${pid}.`);
  return found.address;
}
