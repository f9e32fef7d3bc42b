/** About the machine: uname, sysinfo, random numbers. And calls that are refused on purpose. */
import { formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno } from '@visorkit/sandbox-fs';
import { group } from './group.js';

const { flags, int, output, pointer, size } = formats;

/** What uname(2) says; the release is that of the interface that is served. */
export const UNAME = {
  sysname: 'Linux',
  release: '6.1.0-visorkit',
  version: '#1 visorkit',
  machine: 'x86_64',
  domain: '(none)',
} as const;
const FIELD = 65;

function uname(call: SystemCall): number {
  const bytes = new Uint8Array(6 * FIELD);
  [UNAME.sysname, call.process.options.hostname, UNAME.release, UNAME.version, UNAME.machine, UNAME.domain].forEach(
    (text, i) => bytes.set(Buffer.from(text, 'latin1').subarray(0, FIELD - 1), i * FIELD),
  );
  call.memory.write(call.u64(0), bytes);
  return 0;
}

/** `struct sysinfo`, 112 bytes. */
function sysinfo(call: SystemCall): number {
  const { memory: ram } = call.process.options;
  const view = new DataView(new ArrayBuffer(112));
  view.setBigInt64(0, BigInt(Math.floor(call.process.clock / 1e9) + 1), true);
  view.setBigUint64(32, BigInt(ram), true);
  view.setBigUint64(40, BigInt(Math.floor(ram / 2)), true);
  view.setUint16(80, 1, true); // processes
  view.setUint32(104, 1, true); // memory unit
  call.memory.write(call.u64(0), new Uint8Array(view.buffer));
  return 0;
}

/** At most so much at once; getrandom(2) allows fewer bytes above 256. */
const MOST_RANDOM = 1 << 20;

function getrandom(call: SystemCall): number {
  if ((call.u32(2) & ~7) !== 0 || (call.u32(2) & 6) === 6) return -Errno.EINVAL;
  const bytes = new Uint8Array(Math.min(call.u64(1), MOST_RANDOM));
  call.memory.prepare(call.u64(0), bytes.length, true);
  call.process.options.fillRandom(bytes);
  call.memory.write(call.u64(0), bytes);
  return bytes.length;
}

/** Calls that programs try and can do without, and what they get. */
const refused: readonly (readonly [name: string, errno: keyof typeof Errno])[] = [
  ['clone3', 'ENOSYS'],
  ['rseq', 'ENOSYS'],
  ['membarrier', 'ENOSYS'],
  ['mount', 'EPERM'],
  ['umount2', 'EPERM'],
  ['chroot', 'EPERM'],
  ['pivot_root', 'EPERM'],
  ['reboot', 'EPERM'],
  ['sethostname', 'EPERM'],
  ['setdomainname', 'EPERM'],
  ['swapon', 'EPERM'],
  ['swapoff', 'EPERM'],
  ['syslog', 'EPERM'],
  ['ptrace', 'EPERM'],
  ['unshare', 'EPERM'],
  ['setns', 'EPERM'],
  ['init_module', 'EPERM'],
  ['finit_module', 'EPERM'],
  ['delete_module', 'EPERM'],
  ['bpf', 'EPERM'],
  ['perf_event_open', 'EPERM'],
  ['iopl', 'EPERM'],
  ['ioperm', 'EPERM'],
  ['io_uring_setup', 'EPERM'],
  ['seccomp', 'EINVAL'],
  ['userfaultfd', 'EPERM'],
];

const definitions: SystemCallDefinition[] = [
  { name: 'uname', args: [pointer], serve: uname },
  { name: 'sysinfo', args: [pointer], serve: sysinfo },
  {
    name: 'getrandom',
    args: [output, size, flags({ GRND_NONBLOCK: 1, GRND_RANDOM: 2, GRND_INSECURE: 4 })],
    serve: getrandom,
  },
  ...refused.map(
    ([name, errno]): SystemCallDefinition => ({ name, args: [pointer, pointer, int], serve: () => -Errno[errno] }),
  ),
];

export const system = () => group('system', definitions);
