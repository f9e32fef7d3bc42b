/** Opens memory dumps and saved VMs by path. */
import { existsSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import { VisorkitError, isVisorkitError } from '@visorkit/core';
import { layoutMemory } from '@visorkit/machine';
import { SavedVmMemory, Vmi, openDump as dumpIn } from '@visorkit/vmi';
import type { Dump, DumpFormat, DumpHints, KnownOfGuest, OsProfile } from '@visorkit/vmi';
import { FileSource } from './file-source.js';
import { loadOsProfile, osProfilePackage } from './load-os-profile.js';
import { findPackage } from './modules.js';
import { isSavedVm, openSavedVm } from './saved-file.js';

/** A dump whose file is open until it is disposed of. */
export interface OpenDump extends Dump, Disposable {
  /** What the hints say, as OS profiles take it: registers of the first processor, fields of a Windows header by their names, VMCOREINFO. */
  readonly known: KnownOfGuest;
}

/** The guest of a dump, to be asked about; its file is open until it is disposed of. */
export class DumpedGuest extends Vmi implements Disposable {
  readonly #dump: OpenDump;

  constructor(dump: OpenDump, profiles: readonly OsProfile[], known: KnownOfGuest) {
    super(dump.memory, { profiles, known: () => known });
    this.#dump = dump;
  }

  /** The format's name, "saved-vm" for a VM that this project saved. */
  get format(): string {
    return this.#dump.format;
  }

  [Symbol.dispose](): void {
    this.#dump[Symbol.dispose]();
  }
}

export interface OpenDumpOptions {
  /** Systems that the guest may run, the likeliest first; those of Linux, Windows and FreeBSD that are installed unless given. */
  readonly profiles?: readonly OsProfile[];
  /** The folder that packages of profiles are looked for from; the working directory unless given. */
  readonly fromDir?: string;
  /** What is known besides what the dump says, as files of symbols and types do ({@link openSymbolFile}); it holds where both say something. */
  readonly known?: KnownOfGuest;
  readonly formats?: readonly DumpFormat[];
}

/**
 * The guest of a memory dump or a saved VM: `using vmi = await openDump('memory.elf')`, then `vmi.kernel.processes()`. Throws as {@link openDumpFile}, and as
 * {@link loadOsProfile}; whether there is a kernel is looked for when somebody asks.
 */
export async function openDump(path: string, options: OpenDumpOptions = {}): Promise<DumpedGuest> {
  const profiles = options.profiles ?? (await installedProfiles(options.fromDir ?? process.cwd())),
    dump = await openDumpFile(path, options.formats),
    { known = {} } = options;
  return new DumpedGuest(dump, profiles, {
    ...dump.known,
    ...known,
    values: { ...dump.known.values, ...known.values },
  });
}

const SYSTEMS = ['linux', 'windows', 'freebsd'];
async function installedProfiles(fromDir: string): Promise<OsProfile[]> {
  const installed = SYSTEMS.filter((name) => findPackage(osProfilePackage(name), fromDir) !== undefined);
  return Promise.all(installed.map((name) => loadOsProfile(name, fromDir)));
}

/** VMware's files that belong together, by the ends of their names. */
const BESIDE: readonly [RegExp, readonly string[]][] = [
  [/\.vmem$/i, ['.vmss', '.vmsn']],
  [/\.vms[sn]$/i, ['.vmem']],
];

/**
 * Opens a memory dump of any format of `@visorkit/vmi`, or a VM that this project saved (format "saved-vm"). The format is recognised by content; what VMware keeps in a
 * second file is looked for beside the first. Dispose of it to close the files: what was not read before can then not be read. Throws `FILE_UNREADABLE`
 * for a file that cannot be read, `VMI_DUMP` for one whose headers make no sense, `SAVED_FILE` for a saved VM that is damaged.
 */
export async function openDumpFile(path: string, formats?: readonly DumpFormat[]): Promise<OpenDump> {
  const open: FileSource[] = [];
  const close = (): void => {
    for (const file of open.splice(0)) file[Symbol.dispose]();
  };
  try {
    const file = new FileSource(path);
    open.push(file);
    if (isSavedVm(file)) {
      close();
      return openSaved(path);
    }
    const other = besideOf(path);
    const beside = other === undefined ? undefined : new FileSource(other);
    if (beside !== undefined) open.push(beside);
    const dump = dumpIn(file, { inflate, ...(beside && { beside }), ...(formats && { formats }) });
    return { ...dump, known: knownOf(dump.hints), [Symbol.dispose]: close };
  } catch (error) {
    close();
    if (!isVisorkitError(error) || error.code !== 'VMI_DUMP') throw error;
    throw new VisorkitError('VMI_DUMP', `${path}: ${error.message}`, { path }, error);
  }
}

/** Node's zlib is 1.6 times as fast as portable code. Its default chunks are larger than a page. */
const inflate = (bytes: Uint8Array, length: number): Uint8Array =>
  inflateSync(bytes, { chunkSize: Math.max(length, 64), maxOutputLength: length });

function openSaved(path: string): OpenDump {
  const saved = openSavedVm(path);
  const ranges = layoutMemory(saved.state.composition.memory).map(({ gpa, size }) => ({ start: gpa, end: gpa + size }));
  const memory = new SavedVmMemory(saved, ranges);
  // Its file is closed when nobody has a piece of it any more
  return { format: 'saved-vm', memory, hints: {}, known: {}, [Symbol.dispose]: () => undefined };
}

function besideOf(path: string): string | undefined {
  for (const [end, others] of BESIDE)
    for (const other of others)
      if (end.test(path) && existsSync(path.replace(end, other))) return path.replace(end, other);
  return undefined;
}

function knownOf({ cpus, windows, vmcoreinfo }: DumpHints): KnownOfGuest {
  const { idtBase, ...cpu } = cpus?.[0] ?? {};
  const registers = Object.fromEntries(
    Object.entries({
      ...{ cr0: cpu.cr0, cr3: cpu.cr3 ?? windows?.directoryTableBase, cr4: cpu.cr4, idtr: idtBase },
      ...{ fsBase: cpu.fsBase, gsBase: cpu.gsBase, kernelGsBase: cpu.kernelGsBase },
    }).filter(([, value]) => value !== undefined),
  );
  const values = {
    ...(vmcoreinfo === undefined ? {} : { VMCOREINFO: vmcoreinfo }),
    ...(windows && {
      DirectoryTableBase: windows.directoryTableBase,
      KdDebuggerDataBlock: windows.kdDebuggerDataBlock,
      PsLoadedModuleList: windows.psLoadedModuleList,
      PsActiveProcessHead: windows.psActiveProcessHead,
      MachineImageType: BigInt(windows.machineImageType),
    }),
  };
  return {
    ...(Object.keys(registers).length > 0 ? { registers } : {}),
    ...(Object.keys(values).length > 0 ? { values } : {}),
  };
}
