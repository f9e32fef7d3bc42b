/**
 * Memory images of FreeBSD/amd64 with known contents, from the published layouts: what a test compares with what is read, with which it shares no code.
 */
import { FileMemory } from '@visorkit/vmi';

const KERNEL = 0xffff_ffff_8000_0000n;
const DIRECT = 0xffff_f800_0000_0000n;
const SIZE = 8 << 20;

export interface Version {
  readonly banner: string;
  readonly comm: number;
  readonly pid: number;
  readonly vmspace: number;
  readonly cr3: number;
  readonly parent: number;
  readonly tid: number;
}

/** LibVMI's notes on FreeBSD for 10.4, 11.1 and 12; the last is one that nobody has published. */
export const VERSIONS: Readonly<Record<string, Version>> = {
  '10.4': {
    banner: 'FreeBSD 10.4-RELEASE #0 r324094: Fri Sep 29 01:45:40 UTC 2017',
    comm: 0x344,
    pid: 0xbc,
    vmspace: 0x170,
    cr3: 0x160,
    parent: 0xe0,
    tid: 0x90,
  },
  '11.1': {
    banner: 'FreeBSD 11.1-RELEASE #0 r321309: Fri Jul 21 02:08:28 UTC 2017',
    comm: 0x3d0,
    pid: 0xbc,
    vmspace: 0x1f0,
    cr3: 0x160,
    parent: 0xe0,
    tid: 0x98,
  },
  '12.0': {
    banner: 'FreeBSD 12.0-RELEASE r341666 GENERIC',
    comm: 0x3e4,
    pid: 0xbc,
    vmspace: 0x200,
    cr3: 0x160,
    parent: 0xe0,
    tid: 0x98,
  },
  '14.1': {
    banner: 'FreeBSD 14.1-RELEASE releng/14.1-n267679 GENERIC',
    comm: 0x43c,
    pid: 0xc4,
    vmspace: 0x210,
    cr3: 0x158,
    parent: 0xe8,
    tid: 0xb0,
  },
};

/** Latest first, as the kernel has them. */
export const PROCESSES = [
  { pid: 812, ppid: 1, name: 'sshd' },
  { pid: 11, ppid: 0, name: 'idle' },
  { pid: 1, ppid: 0, name: 'init' },
  { pid: 0, ppid: 0, name: 'kernel' },
] as const;

export interface BuiltFreebsd {
  readonly bytes: Uint8Array;
  readonly memory: FileMemory;
  readonly roots: readonly number[];
  /** Of struct proc, in the order of `PROCESSES`. */
  readonly procs: readonly bigint[];
  readonly allproc: bigint;
  readonly linkerFiles: bigint;
}

export const memoryOf = (bytes: Uint8Array): FileMemory =>
  new FileMemory(
    { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
    [{ start: 0, length: bytes.length, offset: 0 }],
  );

export function buildFreebsd(version: Version): BuiltFreebsd {
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  const u64 = (at: number, value: bigint): void => view.setBigUint64(at, BigInt.asUintN(64, value), true);
  const text = (at: number, value: string): void => void bytes.set(new TextEncoder().encode(`${value}\0`), at);
  const direct = (physical: number): bigint => DIRECT + BigInt(physical);
  let next = 0x60_0000;
  const room = (size: number): number => {
    next += (size + 4095) & ~4095;
    return next - ((size + 4095) & ~4095);
  };

  // The kernel's image at 2 MiB, all of memory in the direct map; both in pages of 2 MiB
  const [kernelDirectories, kernelPages, directDirectories, directPages] = [0, 0, 0, 0].map(() => room(4096));
  u64(kernelDirectories + 8 * 510, BigInt(kernelPages) | 0x63n);
  u64(directDirectories, BigInt(directPages) | 0x63n);
  for (let page = 0; page < SIZE >> 21; page++) {
    u64(directPages + 8 * page, BigInt(page << 21) | 0xe3n);
    if (page > 0) u64(kernelPages + 8 * page, BigInt(page << 21) | 0xe3n);
  }
  const roots = PROCESSES.map(() => {
    const root = room(4096);
    u64(root + 8 * 256, BigInt(root) | 0x63n);
    u64(root + 8 * 496, BigInt(directDirectories) | 0x63n);
    u64(root + 8 * 511, BigInt(kernelDirectories) | 0x63n);
    return root;
  });

  text(0x28_0100, '@(#)no version');
  text(0x28_0200, version.banner);
  text(0x28_0400, 'kernel');
  const allproc = 0x30_0000;
  // proc0 is in the kernel's data, the others come from the allocator
  const places = PROCESSES.map(({ pid }) => (pid === 0 ? 0x30_1000 : room(4096)));
  const procs = places.map((place, index) => (PROCESSES[index].pid === 0 ? KERNEL + BigInt(place) : direct(place)));
  u64(allproc, procs[0]);
  let tid = 100_000 + PROCESSES.length * 2;
  PROCESSES.forEach(({ pid, ppid, name }, index) => {
    const at = places[index];
    u64(at, procs[index + 1] ?? 0n);
    u64(at + 8, index === 0 ? KERNEL + BigInt(allproc) : procs[index - 1]);
    view.setUint32(at + version.pid, pid, true);
    text(at + version.comm, name);
    const parent = PROCESSES.findIndex((process) => process.pid === ppid);
    u64(at + version.parent, pid === 0 ? 0n : procs[parent]);
    const vmspace = room(4096);
    u64(at + version.vmspace, direct(vmspace));
    u64(vmspace + version.cr3, BigInt(roots[index]));
    // Two threads, one behind the other; the first of all has the number 100000
    const threads = [room(4096), room(4096)];
    u64(at + 0x10, direct(threads[0]));
    threads.forEach((thread, part) => {
      u64(thread + 8, procs[index]);
      u64(thread + 0x10, part === 0 ? direct(threads[1]) : 0n);
      view.setUint32(thread + version.tid, pid === 0 && part === 0 ? 100_000 : --tid, true);
    });
  });
  const linkerFiles = 0x30_0100;
  const files = [
    ['kernel', '/boot/kernel/kernel', KERNEL + 0x20_0000n, 0x1f0_0000n],
    ['if_em.ko', '/boot/kernel/if_em.ko', 0xffff_ffff_8241_9000n, 0x2_0000n],
  ] as const;
  const filePlaces = files.map(() => room(4096));
  u64(linkerFiles, direct(filePlaces[0]));
  files.forEach(([name, path, base, size], index) => {
    const at = filePlaces[index];
    u64(at + 0x18, index + 1 < files.length ? direct(filePlaces[index + 1]) : 0n);
    u64(at + 0x28, direct(at + 0x400));
    u64(at + 0x30, direct(at + 0x500));
    text(at + 0x400, name);
    text(at + 0x500, path);
    u64(at + 0x40, base);
    u64(at + 0x48, size);
  });
  return {
    bytes,
    memory: memoryOf(bytes),
    roots,
    procs,
    allproc: KERNEL + BigInt(allproc),
    linkerFiles: KERNEL + BigInt(linkerFiles),
  };
}
