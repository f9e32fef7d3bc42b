/** Debian's packages by apt-get, without root and without changes to the system. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fail, isVisorkitError } from '@visorkit/core';
import { exists, fillOnce } from './cache.js';
import { fetchFailures, lastLines, runCommand } from './run-command.js';

/** Architectures of Debian whose guests a PC runs. */
export type DebianArchitecture = 'amd64' | 'i386';

/** One version of a package that apt knows. */
export interface PackageVersion {
  readonly name: string;
  readonly version: string;
  /** Names in its Depends, alternatives and versions left out. */
  readonly depends: readonly string[];
}

/** Suites of Debian whose kernels are of interest beside those of the system's own sources, and what they are. */
export type DebianSuite = 'bookworm-backports' | 'bullseye';

export type AptProgress = (percent: number | undefined, message: string) => void;

/** What to do where apt cannot help, for errors. */
const REMEDY =
  'Packages come from Debian: on Debian, see that /etc/apt has its sources and that the network is there (`apt-get update` must work); ' +
  'elsewhere, copy the cache folder from a Debian machine (VISORKIT_CACHE says where it is), or run a kernel of your own with --kernel and --initrd';

/** What to do where Debian's servers do not answer. */
const NETWORK_REMEDY =
  'Connect this machine to the network and start again; behind a proxy, tell apt of it (http_proxy, or Acquire::http::Proxy in /etc/apt/apt.conf). ' +
  'Without a network, copy the cache folder from a machine that has started once (VISORKIT_CACHE says where it is), or run a kernel of your own with --kernel and --initrd';

/**
 * apt without root and without touching the system. Package lists are the system's own where they have what is asked;
 * else, and for an architecture that the system does not have, they are fetched into a folder of the cache, by the system's
 * sources and keys. Those of a further suite come from Debian's own mirror, signed by the keys of debian-archive-keyring.
 */
export class Apt {
  readonly #cache: string;
  readonly #architecture: DebianArchitecture;
  readonly #suite: DebianSuite | undefined;
  readonly #signal: AbortSignal | undefined;
  #options: string[] = [];

  private constructor(
    cache: string,
    architecture: DebianArchitecture,
    suite: DebianSuite | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.#cache = cache;
    this.#architecture = architecture;
    this.#suite = suite;
    this.#signal = signal;
  }

  /**
   * Opens apt for one package.
   * @throws VisorkitError GUEST_APT_MISSING, GUEST_NETWORK, GUEST_PACKAGE_UNKNOWN
   */
  static async open(
    cache: string,
    architecture: DebianArchitecture,
    name: string,
    progress: AptProgress,
    { suite, signal }: { readonly suite?: DebianSuite; readonly signal?: AbortSignal } = {},
  ): Promise<Apt> {
    const apt = new Apt(cache, architecture, suite, signal);
    const native = await apt.#nativeArchitecture();
    if (suite === undefined && native === architecture && (await apt.versions(name)).length > 0) return apt;
    if (await exists(apt.#lists)) {
      apt.#options = privateOptions(apt.#lists, architecture, suite);
      if ((await apt.versions(name)).length > 0) return apt;
    }
    const said = await apt.refresh(progress);
    if ((await apt.versions(name)).length === 0) {
      if (fetchFailures(said).length > 0) apt.unreachable(name, said);
      fail(
        'GUEST_PACKAGE_UNKNOWN',
        `apt knows no package "${name}" for ${architecture} (${lastLines(said)}). ${REMEDY}.`,
        { name, architecture },
      );
    }
    return apt;
  }

  /**
   * Fetches package lists into the cache, anew where there are some, and goes by them from now on. Some of the sources may
   * fail: what matters is whether they know the package then.
   * @returns what apt-get said
   */
  async refresh(progress: AptProgress): Promise<string> {
    const of = this.#suite === undefined ? '' : ` of ${this.#suite}`;
    const message = `fetching Debian's package lists${of} for ${this.#architecture}`;
    progress(undefined, message);
    let said = '';
    await rm(this.#lists, { recursive: true, force: true });
    await fillOnce(this.#cache, this.#lists, async (folder) => {
      for (const part of ['state/lists/partial', 'cache/archives/partial'])
        await mkdir(join(folder, part), { recursive: true });
      await writeFile(join(folder, 'state/status'), '');
      if (this.#suite !== undefined) await writeFile(join(folder, SOURCES), await this.#source(this.#suite));
      this.#options = privateOptions(folder, this.#architecture, this.#suite);
      const onStatusLine = (line: string): void => {
        const [kind, , percent] = line.split(':');
        if (kind === 'dlstatus') progress(Number(percent), message);
      };
      said = (await this.#run('apt-get', ['-o', 'APT::Status-Fd=3', 'update'], { onStatusLine })).stderr;
    });
    this.#options = privateOptions(this.#lists, this.#architecture, this.#suite);
    return said;
  }

  /** A line for sources.list: the suite, from the server that the system itself has Debian from. Throws GUEST_PACKAGE_UNKNOWN where it has none. */
  async #source(suite: DebianSuite): Promise<string> {
    const { stdout } = await runCommand(
      'apt-get',
      ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'],
      {
        signal: this.#signal,
      },
    );
    const server = stdout.split('\n').find((uri) => /\/debian\/?$/.test(uri));
    return server === undefined
      ? fail(
          'GUEST_PACKAGE_UNKNOWN',
          `apt has no source of Debian's from which packages of ${suite} could come. ${REMEDY}.`,
          {
            suite,
          },
        )
      : `deb [signed-by=${KEYRING}] ${server} ${suite} main\n`;
  }

  /** Throws GUEST_NETWORK: Debian's servers did not answer. `said`: what apt-get wrote, which is passed on. */
  unreachable(name: string, said: string): never {
    const [first, ...more] = fetchFailures(said);
    return fail(
      'GUEST_NETWORK',
      `The package ${name} is not in the cache yet, and apt-get cannot reach Debian's servers for it: ` +
        `"${first}"${more.length > 0 ? ` (and ${more.length} more of the kind)` : ''}. ${NETWORK_REMEDY}.`,
      { name, architecture: this.#architecture, said: fetchFailures(said) },
    );
  }

  /** Where lists of our own are kept. */
  get #lists(): string {
    return join(this.#cache, 'apt', folderOf(this.#architecture, this.#suite));
  }

  /** The versions of a package that can be had, newest first; none when apt does not know it. */
  async versions(name: string): Promise<PackageVersion[]> {
    const { stdout } = await this.#run('apt-cache', ['show', name]);
    const versions = stdout
      .split(/\n\n+/)
      .map(parseStanza)
      .filter((stanza) => stanza?.name === name);
    return versions as PackageVersion[];
  }

  /**
   * Downloads a package's .deb into `folder`.
   * @throws VisorkitError GUEST_DOWNLOAD
   */
  async download(version: PackageVersion, folder: string, progress: AptProgress): Promise<void> {
    const onStatusLine = (line: string): void => {
      const [kind, , percent] = line.split(':');
      if (kind === 'dlstatus') progress(Number(percent), `downloading ${version.name} ${version.version}`);
    };
    const result = await this.#run(
      'apt-get',
      ['-o', 'APT::Status-Fd=3', 'download', `${version.name}=${version.version}`],
      { cwd: folder, onStatusLine },
    );
    if (result.status !== 0) {
      fail(
        'GUEST_DOWNLOAD',
        `apt-get could not download ${version.name} ${version.version} (${lastLines(result.stderr)}). ${REMEDY}.`,
        { ...version },
      );
    }
  }

  async #nativeArchitecture(): Promise<string> {
    try {
      return (await runCommand('dpkg', ['--print-architecture'], { signal: this.#signal })).stdout.trim();
    } catch (error) {
      if (isVisorkitError(error) && error.code === 'COMMAND_MISSING') missing(error);
      throw error;
    }
  }

  async #run(
    command: string,
    args: string[],
    options: { cwd?: string; onStatusLine?: (line: string) => void } = {},
  ): ReturnType<typeof runCommand> {
    try {
      return await runCommand(command, [...this.#options, ...COMMON_OPTIONS, ...args], {
        ...options,
        signal: this.#signal,
      });
    } catch (error) {
      if (isVisorkitError(error) && error.code === 'COMMAND_MISSING') missing(error);
      throw error;
    }
  }
}

/** Run as root, apt would hand downloads to the user "_apt", who cannot write in the cache. */
const COMMON_OPTIONS = ['-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Retries=2', '-q'];

/** Debian's own, which its package debian-archive-keyring has on every Debian. */
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** File with the source of a suite, in the folder of its lists. */
const SOURCES = 'sources.list';

/** Where the cache keeps what is of an architecture, and of a suite if one was named. */
export const folderOf = (architecture: DebianArchitecture, suite: DebianSuite | undefined): string =>
  suite === undefined ? architecture : `${architecture}-${suite}`;

function privateOptions(folder: string, architecture: DebianArchitecture, suite?: DebianSuite): string[] {
  const settings: Record<string, string> = {
    ...(suite === undefined ? {} : { 'Dir::Etc::sourcelist': join(folder, SOURCES), 'Dir::Etc::sourceparts': '-' }),
    'Dir::State': join(folder, 'state'),
    'Dir::State::status': join(folder, 'state/status'),
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Cache::pkgcache': '',
    'Dir::Cache::srcpkgcache': '',
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Update::Post-Invoke-Success': '',
    'Acquire::Languages': 'none',
    'Debug::NoLocking': '1',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

function missing(cause: Error): never {
  return fail(
    'GUEST_APT_MISSING',
    `This machine has no apt-get and dpkg, with which Debian's packages are fetched. ${REMEDY}.`,
    undefined,
    cause,
  );
}

/** One stanza of `apt-cache show`. */
function parseStanza(text: string): PackageVersion | undefined {
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(text)?.[1].trim();
  const name = field('Package');
  const version = field('Version');
  if (name === undefined || version === undefined) return undefined;
  const depends = (field('Depends') ?? '')
    .split(',')
    .map((part) => part.trim().split(/[\s(:|]/)[0])
    .filter((part) => part !== '');
  return { name, version, depends };
}
