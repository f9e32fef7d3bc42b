/** Files that are mapped: one number for one file, and reads and writes through the pages that the guest has. */
import { FilePages, OpenFile } from '@visorkit/linux-abi';
import { ArrayGuestMemory } from '@visorkit/machine';
import { Errno, FileMode } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { HANDLE_READ_ONLY } from './abi.js';
import { MappedFiles, PageTree } from './mapped-files.js';

const ROOT = 0x1000,
  PAGE = 4096;
const SHARED = 1,
  PRIVATE = 2,
  READ = 1,
  WRITE = 2;
let ram: ArrayGuestMemory, nextTable: number;

/** Puts a frame at a page number into the tree at ROOT. */
function put(page: number, frame: number): void {
  let table = ROOT;
  for (const divisor of [512 ** 3, 512 ** 2, 512]) {
    const at = table + (Math.floor(page / divisor) % 512) * 8;
    if (ram.readU32(at) === 0) {
      ram.writeU64(at, BigInt(nextTable | 7));
      nextTable += PAGE;
    }
    table = ram.readU32(at) & 0xffff_f000;
  }
  ram.writeU64(table + (page % 512) * 8, BigInt(frame | 1));
}

/** What the guest kernel is told of files that have become shorter. */
let cuts: [root: number, size: number][];
const cut = (root: number, size: number): number => cuts.push([root, size]);

beforeEach(() => {
  cuts = [];
  ram = new ArrayGuestMemory(1 << 20);
  nextTable = 0x2000;
});

describe('a tree of pages', () => {
  it('is read and written where pages are, across their borders', () => {
    const tree = new PageTree(ram, ROOT, cut);
    put(0, 0x80000);
    put(2, 0x90000);
    put(512 * 512 * 3 + 5, 0xa0000);
    ram.write(0x80000 + 4090, Buffer.from('zero00'));
    ram.write(0x90000, Buffer.from('two'));
    const target = new Uint8Array(PAGE + 9).fill(1);
    tree.read(target, 4090);
    expect(Buffer.from(target.subarray(0, 6)).toString()).toBe('zero00');
    expect([target[6], target[PAGE + 5]]).toEqual([1, 1]); // page 1 is not there
    expect(Buffer.from(target.subarray(PAGE + 6)).toString()).toBe('two');
    tree.write(Buffer.from('far'), (512 * 512 * 3 + 5) * PAGE + 1);
    expect(ram.readU8(0xa0001)).toBe('f'.charCodeAt(0));
  });

  it('is zero behind a new end', () => {
    const tree = new PageTree(ram, ROOT, cut);
    for (const [page, frame] of [
      [0, 0x80000],
      [1, 0x81000],
      [600, 0x82000],
    ]) {
      put(page, frame);
      ram.write(frame, new Uint8Array(PAGE).fill(7));
    }
    tree.truncate(PAGE + 10);
    expect([ram.readU8(0x80000 + 4095), ram.readU8(0x81009), ram.readU8(0x8100a), ram.readU8(0x82000)]).toEqual([
      7, 7, 0, 0,
    ]);
    expect(cuts).toEqual([[ROOT, PAGE + 10]]);
  });
});

class File extends OpenFile {
  readonly name = '/file';
  content = Buffer.from('0123456789');
  closed = false;
  constructor(
    flags: number,
    private readonly ino = 5n,
    private readonly mode: number = FileMode.REGULAR,
  ) {
    super(flags);
  }
  stat(): FileStat {
    return { dev: 1n, ino: this.ino, mode: this.mode, size: this.content.length } as FileStat;
  }
  override readAt(target: Uint8Array, position: number): number {
    return this.content.copy(target, 0, position);
  }
  override writeAt(bytes: Uint8Array, position: number): number {
    this.content.set(bytes, (this.flags & 0o2000) !== 0 ? this.content.length : position);
    return bytes.length;
  }
  override close(): void {
    this.closed = true;
  }
}

describe('mapped files', () => {
  const RDONLY = 0,
    WRONLY = 1,
    RDWR = 2;
  let files: MappedFiles, pages: FilePages;
  beforeEach(() => {
    pages = new FilePages();
    files = new MappedFiles(ram, pages, cut);
  });

  it('are the same by number when they are the same file', () => {
    const number = files.open(new File(RDONLY), READ, PRIVATE);
    expect(files.open(new File(RDWR), READ | WRITE, SHARED)).toBe(number);
    expect(files.open(new File(RDONLY), READ, SHARED)).toBe(number + HANDLE_READ_ONLY);
    expect(files.open(new File(RDONLY, 6n), READ, PRIVATE)).toBe(number + 1);
    const device = (): number => files.open(new File(RDONLY, 9n, FileMode.CHARACTER), READ, PRIVATE);
    expect(device()).not.toBe(device());
  });

  it('need the rights of mmap', () => {
    expect(files.open(undefined, READ, PRIVATE)).toBe(-Errno.EBADF);
    expect(files.open(new File(WRONLY), READ, PRIVATE)).toBe(-Errno.EACCES);
    expect(files.open(new File(RDONLY), READ | WRITE, SHARED)).toBe(-Errno.EACCES);
    expect(files.open(new File(RDONLY), READ | WRITE, PRIVATE)).toBeGreaterThan(0);
  });

  it('are read page by page, and written back up to their end, in place even when they append', () => {
    const file = new File(RDWR | 0o2000),
      number = files.open(file, READ | WRITE, SHARED);
    expect(files.read(number, 0, 0x80000)).toBe(10);
    ram.write(0x80000, Buffer.from('ABCDEFGHIJKLMN'));
    expect(files.write(number, 0, 0x80000)).toBe(10);
    expect(file.content.toString()).toBe('ABCDEFGHIJ');
    expect(file.flags & 0o2000).toBe(0o2000);
    expect(files.write(number, PAGE, 0x80000)).toBe(0);
    expect(files.read(77, 0, 0)).toBe(-Errno.EBADF);
  });

  it('have pages that others see, until they are closed', () => {
    const file = new File(RDWR),
      number = files.open(file, READ, SHARED);
    expect(pages.of(() => FilePages.key(file.stat()))).toBeUndefined();
    files.hasPages(number, ROOT);
    expect(pages.of(() => FilePages.key(file.stat()))).toBeInstanceOf(PageTree);
    files.close(number);
    expect([pages.of(() => FilePages.key(file.stat())), file.closed]).toEqual([undefined, true]);
  });

  it('that were opened for a program that did not start are closed', () => {
    const [kept, gone] = [new File(RDONLY), new File(RDONLY, 6n)];
    files.hasPages(files.open(kept, READ, PRIVATE), ROOT);
    files.open(gone, READ, PRIVATE);
    files.closeUntaken();
    expect([kept.closed, gone.closed]).toEqual([false, true]);
  });
});
