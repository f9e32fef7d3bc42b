/** Files that a guest starts from. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { fail } from '@visorkit/core';
import type { BootModule } from '@visorkit/machine';
import { largeBuffer } from '@visorkit/project';

/** What is larger is read into larger pages of the host: to fill small ones for the first time may take longer than to read. */
const LARGE_FILE = 4 << 20;

/** Reads a file, or what comes through a pipe. `option` is the one that names it. */
export async function readImage(option: string, path: string): Promise<Uint8Array> {
  const refuse = (why: string): never =>
    fail('FILE_UNREADABLE', `${option} names "${path}", but ${why}.`, { option, path });
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, 'r');
    const kind = fstatSync(descriptor);
    if (kind.isDirectory()) refuse('it is a folder');
    if (!kind.isFile() && !kind.isFIFO()) refuse('it is a device; a file or a pipe is right');
    return kind.size < LARGE_FILE ? readFileSync(descriptor) : readInto(await largeBuffer(kind.size), descriptor);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'FILE_UNREADABLE') throw error;
    return refuse(
      code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'it may not be read' : (error as Error).message,
    );
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** As much of the file as there is; it may have become shorter. */
function readInto(bytes: Uint8Array, descriptor: number): Uint8Array {
  let at = 0;
  while (at < bytes.length) {
    const got = readSync(descriptor, bytes, at, bytes.length - at, at);
    if (got === 0) break;
    at += got;
  }
  return bytes.subarray(0, at);
}

/** Reads a RAM disk or another module. An empty file is refused here, because the guest would only fail later. */
export async function readModule(option: string, path: string): Promise<Uint8Array> {
  const data = await readImage(option, path);
  if (data.length === 0) fail('FILE_UNREADABLE', `${option} names "${path}", but it is empty.`, { option, path });
  return data;
}

/** A module is `PATH` or `PATH ARGUMENTS`, as with QEMU's -initrd for multiboot. */
export async function readModules(initrd: string | undefined, modules: readonly string[] = []): Promise<BootModule[]> {
  const read: BootModule[] = [];
  if (initrd !== undefined) read.push({ name: basename(initrd), data: await readModule('--initrd', initrd) });
  for (const text of modules) {
    const [path, ...rest] = text.split(' ');
    read.push({ name: [path, ...rest].join(' '), data: await readModule('--module', path) });
  }
  return read;
}
