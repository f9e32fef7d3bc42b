/** Debian's packages: fetched once, unpacked in the cache. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fail, isVisorkitError } from '@visorkit/core';
import { Apt, folderOf } from './apt.js';
import type { DebianArchitecture, DebianSuite, PackageVersion } from './apt.js';
import { clear, defaultCacheFolder, exists, fillOnce } from './cache.js';
import { fetchFailures, lastLines, runCommand } from './run-command.js';

/** A package of Debian, unpacked in the cache. */
export interface DebianPackage {
  /** The name that was asked for, which may be a metapackage's. */
  readonly requested: string;
  /** The package itself: `linux-image-6.1.0-…-cloud-amd64`. */
  readonly name: string;
  readonly version: string;
  readonly architecture: DebianArchitecture;
  /** Folder with the package's files, as they would lie at `/`. */
  readonly root: string;
}

/** One step of a long piece of work. */
export interface FetchProgress {
  readonly step: 'lists' | 'download' | 'unpack' | 'initramfs';
  /** For people: "downloading linux-image-… 6.1.192-2". */
  readonly message: string;
  /** 0 to 100, where the step can tell. */
  readonly percent?: number;
}

export interface FetchOptions {
  /** Architecture of the guest; amd64 when nothing is said. */
  readonly arch?: DebianArchitecture;
  /** Where the package comes from when not from the system's own sources: a suite of Debian, fetched from its mirror. */
  readonly suite?: DebianSuite;
  /** Cache folder; {@link defaultCacheFolder} when nothing is said. */
  readonly cache?: string;
  readonly onProgress?: (progress: FetchProgress) => void;
  /** Paths in the package, as `usr/bin/env`: only these are kept. A cache holds such a part beside the whole. */
  readonly only?: readonly string[];
  /** Ends the work; the cache stays as it was. */
  readonly signal?: AbortSignal;
}

type FetchReport = (percent: number | undefined, message: string) => void;

const MANIFEST = 'manifest.json';

/**
 * Fetches a package of Debian with apt-get, unpacks it into the cache and says where it is. A package that is in the
 * cache is not fetched again, and needs neither apt nor the network. A metapackage of a kernel (`linux-image-cloud-amd64`,
 * `linux-image-686`) gives the kernel that it stands for.
 *
 * Nothing on the system is changed and no root is needed. Interrupted work leaves the cache as it was; several
 * processes may fetch the same package at the same time.
 * @throws VisorkitError GUEST_APT_MISSING, GUEST_NETWORK, GUEST_PACKAGE_UNKNOWN, GUEST_DOWNLOAD, GUEST_UNPACK, GUEST_CACHE, GUEST_INTERRUPTED
 */
export async function fetchDebianPackage(name: string, options: FetchOptions = {}): Promise<DebianPackage> {
  if (!/^[a-z0-9][a-z0-9+.-]+$/.test(name))
    fail(
      'GUEST_PACKAGE_NAME',
      `"${name}" is not the name of a Debian package; lower-case letters, digits, and +-. are right.`,
    );
  const { arch = 'amd64', suite, cache = defaultCacheFolder(), signal } = options;
  const report =
    (step: FetchProgress['step']): FetchReport =>
    (percent, message) =>
      options.onProgress?.({ step, message, percent });
  const { only } = options;
  const part = only === undefined ? '' : `+${createHash('sha256').update(only.join('\n')).digest('hex').slice(0, 8)}`;
  const target = join(cache, 'debian', folderOf(arch, suite), `${name}${part}`);
  const cached = await readManifest(target);
  if (cached) return cached;
  await clear(cache, target); // without a manifest it is of no use

  const apt = await Apt.open(cache, arch, name, report('lists'), { suite, signal });
  await fillOnce(cache, target, async (folder) => {
    const version = await download(apt, name, folder, report('download'));
    report('unpack')(undefined, `unpacking ${version.name} ${version.version}`);
    await unpack(folder, signal);
    if (only !== undefined) await keep(folder, only, version.name);
    await writeFile(
      join(folder, MANIFEST),
      `${JSON.stringify({ requested: name, name: version.name, version: version.version, architecture: arch }, null, 2)}\n`,
    );
  });
  return (
    (await readManifest(target)) ??
    fail('GUEST_CACHE', `The package ${name} was put in "${target}", but it is not there now.`)
  );
}

/**
 * Downloads the newest version that the mirror has. Lists may be newer than the mirror, while it is being updated; where
 * they are older and all they name is gone, new ones are fetched.
 */
async function download(apt: Apt, name: string, folder: string, progress: FetchReport): Promise<PackageVersion> {
  try {
    return await downloadFirst(apt, name, folder, progress);
  } catch (error) {
    if (!isDownloadFailure(error)) throw error;
    const said = await apt.refresh(progress);
    try {
      return await downloadFirst(apt, name, folder, progress);
    } catch (again) {
      // One of several sources may fail and the rest do: it is the network's fault only when nothing came of it
      if (isVisorkitError(again) && fetchFailures(said).length > 0) apt.unreachable(name, said);
      throw again;
    }
  }
}

async function downloadFirst(apt: Apt, name: string, folder: string, progress: FetchReport): Promise<PackageVersion> {
  let failure: unknown;
  for (const candidate of await candidates(apt, name)) {
    progress(0, `downloading ${candidate.name} ${candidate.version}`);
    try {
      await apt.download(candidate, folder, progress);
      return candidate;
    } catch (error) {
      if (!isDownloadFailure(error)) throw error;
      failure ??= error;
    }
  }
  if (failure) throw failure;
  return fail(
    'GUEST_PACKAGE_UNKNOWN',
    `The package "${name}" stands for a kernel that apt does not know; run \`apt-get update\` and try again.`,
    { name },
  );
}

function isDownloadFailure(error: unknown): boolean {
  return isVisorkitError(error) && error.code === 'GUEST_DOWNLOAD';
}

/** A kernel's package has its version in its name; the metapackages, whose names have none, depend on one. */
const KERNEL_NAME = /^linux-image-\d+\.\d/;

/** The versions to try, newest first; those of the kernel itself where `name` is a kernel's metapackage. */
async function candidates(apt: Apt, name: string): Promise<PackageVersion[]> {
  const found: PackageVersion[] = [];
  for (const version of await apt.versions(name)) {
    const kernel = name.startsWith('linux-image-')
      ? version.depends.find((dependency) => KERNEL_NAME.test(dependency))
      : undefined;
    found.push(...(kernel === undefined || KERNEL_NAME.test(name) ? [version] : await apt.versions(kernel)));
  }
  return found;
}

async function unpack(folder: string, signal: AbortSignal | undefined): Promise<void> {
  const archive =
    (await readdir(folder)).find((file) => file.endsWith('.deb')) ??
    fail('GUEST_DOWNLOAD', `apt-get reported success, but put no package in "${folder}".`);
  const root = join(folder, 'root');
  await mkdir(root);
  const result = await runCommand('dpkg-deb', ['-x', join(folder, archive), root], { signal });
  if (result.status !== 0)
    fail('GUEST_UNPACK', `dpkg-deb could not unpack ${archive} (${lastLines(result.stderr)}); is the disk full?`, {
      archive,
    });
  await rm(join(folder, archive));
}

/** Leaves nothing of what was unpacked but these files. */
async function keep(folder: string, files: readonly string[], name: string): Promise<void> {
  const root = join(folder, 'root'),
    all = join(folder, 'all');
  await rename(root, all);
  for (const file of files) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await rename(join(all, file), join(root, file)).catch((cause: unknown) =>
      fail('GUEST_UNPACK', `The package ${name} has no file "${file}".`, { file }, cause),
    );
  }
  await rm(all, { recursive: true });
}

async function readManifest(target: string): Promise<DebianPackage | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(target, MANIFEST), 'utf8')) as Omit<DebianPackage, 'root'>;
    const root = join(target, 'root');
    return typeof manifest.name === 'string' && (await exists(root)) ? { ...manifest, root } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The kernel image of an unpacked kernel package: its `boot/vmlinuz-*`.
 * @throws VisorkitError GUEST_NO_KERNEL
 */
export async function kernelImage(kernelPackage: DebianPackage): Promise<string> {
  const boot = join(kernelPackage.root, 'boot');
  const names = await readdir(boot).catch(() => [] as string[]);
  const image = names.find((file) => file.startsWith('vmlinuz-'));
  return image
    ? join(boot, image)
    : fail('GUEST_NO_KERNEL', `The package ${kernelPackage.name} has no boot/vmlinuz-*, so it is not a kernel's.`);
}
