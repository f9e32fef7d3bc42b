/** The few functions of the C library that KVM needs, called synchronously through koffi. x86-64 Linux only. */
import koffi from 'koffi';
import type { KoffiFunc } from 'koffi';
import { VisorkitError } from '@visorkit/core';

/** What a `void *` parameter takes: an address, a typed array whose memory is used as it is, or nothing. */
export type Pointer = bigint | Uint8Array | Uint32Array | BigUint64Array | BigInt64Array | Int32Array | null;

export interface LibC {
  /** ioctl whose argument is a number. -1 with `errno` on failure. */
  readonly ioctl: KoffiFunc<(fd: number, request: number, argument: number) => number>;
  /** The same with 32-bit numbers, which cost less to hand over: KVM_RUN's. */
  readonly ioctlSmall: KoffiFunc<(fd: number, request: number, argument: number) => number>;
  /** ioctl whose argument points to memory. */
  readonly ioctlPointer: KoffiFunc<(fd: number, request: number, argument: Pointer) => number>;
  readonly open: KoffiFunc<(path: string, flags: number) => number>;
  readonly close: KoffiFunc<(fd: number) => number>;
  readonly mmap: KoffiFunc<
    (address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number) => number | bigint
  >;
  readonly munmap: KoffiFunc<(address: bigint, length: number) => number>;
  readonly read: KoffiFunc<(fd: number, target: Pointer, length: number) => number | bigint>;
  readonly write: KoffiFunc<(fd: number, source: Pointer, length: number) => number | bigint>;
  readonly eventfd: KoffiFunc<(initial: number, flags: number) => number>;
  /** syscall(number, number, number, number). */
  readonly syscallNumbers: KoffiFunc<(number: number, a: number, b: number, c: number) => number | bigint>;
  /** syscall(number, number, pointer, pointer, number). */
  readonly syscallPointers: KoffiFunc<
    (number: number, a: number, b: Pointer, c: Pointer, d: number) => number | bigint
  >;
  /** syscall(number, number, number, pointer, pointer). */
  readonly syscallTimer: KoffiFunc<(number: number, a: number, b: number, c: Pointer, d: Pointer) => number | bigint>;
  /** syscall(number, pointer, pointer, pointer, number). */
  readonly syscallWait: KoffiFunc<(number: number, a: Pointer, b: Pointer, c: Pointer, d: number) => number | bigint>;
}

let loaded: LibC | undefined;

/** The C library of this process. Throws `KVM_UNAVAILABLE` on other systems than x86-64 Linux. */
export function libc(): LibC {
  if (loaded !== undefined) return loaded;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new VisorkitError(
      'KVM_UNAVAILABLE',
      `KVM is part of Linux on x86-64; this is ${process.platform} on ${process.arch}. Use the backend vmx here.`,
      { problem: 'platform', platform: process.platform, arch: process.arch },
    );
  }
  const library = koffi.load(null);
  const pointer = 'void *';
  loaded = {
    // ioctl and syscall are variadic; on x86-64 integer and pointer arguments go in the same registers either way.
    ioctl: library.func('ioctl', 'int', ['int', 'ulong', 'long']) as LibC['ioctl'],
    ioctlSmall: library.func('ioctl', 'int', ['int', 'uint', 'uint']) as LibC['ioctlSmall'],
    ioctlPointer: library.func('ioctl', 'int', ['int', 'ulong', pointer]) as LibC['ioctlPointer'],
    open: library.func('open', 'int', ['str', 'int']) as LibC['open'],
    close: library.func('close', 'int', ['int']) as LibC['close'],
    mmap: library.func('mmap', 'intptr', [pointer, 'size_t', 'int', 'int', 'int', 'long']) as LibC['mmap'],
    munmap: library.func('munmap', 'int', ['uintptr', 'size_t']) as LibC['munmap'],
    read: library.func('read', 'long', ['int', pointer, 'size_t']) as LibC['read'],
    write: library.func('write', 'long', ['int', pointer, 'size_t']) as LibC['write'],
    eventfd: library.func('eventfd', 'int', ['uint', 'int']) as LibC['eventfd'],
    syscallNumbers: library.func('syscall', 'long', ['long', 'long', 'long', 'long']) as LibC['syscallNumbers'],
    syscallPointers: library.func('syscall', 'long', [
      'long',
      'long',
      pointer,
      pointer,
      'long',
    ]) as LibC['syscallPointers'],
    syscallTimer: library.func('syscall', 'long', ['long', 'long', 'long', pointer, pointer]) as LibC['syscallTimer'],
    syscallWait: library.func('syscall', 'long', ['long', pointer, pointer, pointer, 'long']) as LibC['syscallWait'],
  };
  return loaded;
}

/** The last error number of this thread; right after the call that failed. */
export function errno(): number {
  return koffi.errno();
}

/** Numbers of errors that are looked at. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
} as const;

const NAMES = new Map<number, string>(Object.entries(Errno).map(([name, number]) => [number, name]));

/** Its name, or its number where it is an unusual one. */
export function errorName(number: number): string {
  return NAMES.get(number) ?? `error ${number}`;
}

/** `MAP_SHARED` view of a file, or `MAP_ANONYMOUS | MAP_PRIVATE` memory with `fd` -1; readable and writable. */
export function mapMemory(fd: number, length: number): { readonly address: bigint; readonly buffer: ArrayBuffer } {
  const { mmap } = libc();
  const READ_WRITE = 3,
    SHARED = 1,
    PRIVATE_ANONYMOUS = 0x22;
  const address = BigInt(mmap(null, length, READ_WRITE, fd < 0 ? PRIVATE_ANONYMOUS : SHARED, fd, 0));
  if (address === -1n) {
    const number = errno();
    throw new VisorkitError('KVM_MEMORY', `Memory of ${length} bytes cannot be mapped: ${errorName(number)}.`, {
      length,
      errno: number,
    });
  }
  return { address, buffer: koffi.view(address, length) };
}

/** Takes memory of {@link mapMemory} away. Nobody may touch a view of it afterwards. */
export function unmapMemory(address: bigint, length: number): void {
  libc().munmap(address, length);
}

/** Where a view's first byte is. */
export function addressOf(view: Uint8Array): bigint {
  return koffi.address(view);
}

/** Calls back whenever a file descriptor can be read, until `close`. */
export function pollReadable(fd: number, callback: () => void): { close(): void } {
  const handle = koffi.node.poll(fd, { readable: true }, callback);
  return {
    close: () => {
      handle.stop();
      handle.close();
    },
  };
}
