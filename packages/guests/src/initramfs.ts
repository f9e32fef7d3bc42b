/** Initramfs images of busybox and a few files. */
import { execFile } from 'node:child_process';
import { CpioWriter } from '@visorkit/formats';
import { BUSYBOX_APPLETS } from './busybox-applets.js';
import { checkFiles } from './check-scripts.js';
import { GREETING, INITTAB, initScript, profileScript, sessionScript } from './init-script.js';

/** A file of an initramfs: its content, or its content and whether it is a program. */
export type InitramfsFile = Uint8Array | string | { readonly data: Uint8Array | string; readonly executable?: boolean };

export interface InitramfsOptions {
  /** The busybox program, linked statically. */
  readonly busybox: Uint8Array;
  /** Paths of the links to it, as `busybox --list-full` prints them: "bin/ls". */
  readonly applets: readonly string[];
  /** The first process; {@link initScript} when nothing is said. */
  readonly init?: string;
  /** More files, by path. A program needs `executable`. They take the place of an applet's link of the same path. */
  readonly files?: Readonly<Record<string, InitramfsFile>>;
}

/**
 * Makes an initramfs (cpio, newc) of busybox with links for its applets, an init script and the scripts that check the
 * guest. The same input gives the same bytes.
 */
export function makeBusyboxInitramfs(options: InitramfsOptions): Uint8Array {
  const files: Record<string, InitramfsFile> = {
    ...checkFiles(),
    'etc/profile': profileScript(),
    'etc/motd': GREETING,
    'etc/inittab': INITTAB,
    'etc/visorkit/session': { data: sessionScript(), executable: true },
    ...options.files,
  };
  const taken = new Set([...Object.keys(files).map((path) => path.replace(/^\/+/, '')), 'bin/busybox', 'init']);
  const cpio = new CpioWriter();
  for (const folder of ['bin', 'dev', 'etc', 'mnt', 'proc', 'root', 'run', 'sbin', 'sys', 'usr/bin', 'usr/sbin', 'var'])
    cpio.directory(folder);
  cpio.directory('tmp', 0o1777);
  // The kernel opens this for init, before init can mount devtmpfs.
  cpio.characterDevice('dev/console', 5, 1);
  cpio.characterDevice('dev/null', 1, 3, 0o666);
  cpio.file('init', options.init ?? initScript(), 0o755);
  cpio.file('bin/busybox', options.busybox, 0o755);
  cpio.file('etc/passwd', 'root::0:0:root:/root:/bin/sh\n');
  cpio.file('etc/group', 'root:x:0:\n');
  for (const applet of options.applets) {
    const path = applet.replace(/^\/+/, '');
    if (taken.has(path) || path === '') continue;
    taken.add(path);
    cpio.symlink(path, '/bin/busybox');
  }
  for (const [path, file] of Object.entries(files)) {
    if (typeof file === 'string' || file instanceof Uint8Array) cpio.file(path, file);
    else cpio.file(path, file.data, file.executable ? 0o755 : 0o644);
  }
  return cpio.finish();
}

/**
 * The applets of a busybox program: what it says itself where this machine can run it, and else those of Debian's
 * busybox-static.
 */
export function busyboxApplets(path: string): Promise<readonly string[]> {
  return new Promise((resolve) => {
    execFile(path, ['--list-full'], { timeout: 5000 }, (error, stdout) => {
      const applets = stdout.split('\n').filter((line) => /^[\w/[.-]+$/.test(line));
      resolve(error || applets.length === 0 ? BUSYBOX_APPLETS : applets);
    });
  });
}
