/** What the boot tests share: guests, or the reason why there are none, and machines that boot them on virtual time. */
import { readFileSync } from 'node:fs';
import type { Plugin, Vmm, StopReport } from '@visorkit/core';
import { guestParameters, prepareDebianGuest } from '@visorkit/guests';
import type { DebianArchitecture, DebianGuest, GuestMode } from '@visorkit/guests';
import { CaptureOutput, PushInput } from '@visorkit/machine';
import { vmx } from '@visorkit/backend-vmx';
import { assemble } from 'visorkit';

const MINUTE = 60_000;
/** For a boot, on a machine that has other things to do. */
export const BOOT_TIMEOUT = 8 * MINUTE;
const MEMORY = 256 << 20;
/** Ends a boot that went astray; the longest takes a third of it. */
const MOST_INSTRUCTIONS = 10e9;
/** Prompt of a shell, and what the Enter key sends: busybox's for root. */
export const SHELL = { prompt: '# ', enter: '\n' };
/** Leaves out the kernel's own tests of its cryptography, half of the boot; the boot with programs has them. */
export const QUICK = 'cryptomgr.notests';

/** What was found, or an empty place and why. */
export interface Found<T> {
  readonly value: T;
  /** Why there is nothing; empty when there is something. */
  readonly missing: string;
}

/** Runs what may need Debian's mirror. */
export async function find<T>(what: () => Promise<T>): Promise<Found<T>> {
  try {
    return { value: await what(), missing: '' };
  } catch (error) {
    return { value: undefined as T, missing: (error as Error).message };
  }
}

export const findDebianGuest = (arch: DebianArchitecture): Promise<Found<DebianGuest>> =>
  find(() => prepareDebianGuest({ arch }));

/** The name of a group of tests, with the reason when they are skipped, so that the summary of `npm test` says it. */
export const titled = (title: string, { missing }: Found<unknown>): string =>
  missing === '' ? title : `${title} (not run: ${missing.replace(/\.$/, '')})`;

export interface BootOf {
  readonly image: Uint8Array;
  /** Starts first, and finds the rest in fw_cfg. */
  readonly firmware?: Uint8Array;
  readonly initramfs?: string;
  /** What a Multiboot kernel is given before the initramfs. `name`: with its arguments behind it. */
  readonly modules?: readonly { readonly name: string; readonly data: Uint8Array }[];
  /** Bytes; 256 MiB unless given. */
  readonly memory?: number;
  /** A RAM disk that is no archive. */
  readonly disk?: Uint8Array;
  /** A further archive, whose files the kernel unpacks over those of `initramfs`. */
  readonly files?: Uint8Array;
  readonly mode?: GuestMode;
  /** More of the kernel's command line. */
  readonly append?: string;
  /** Options of the loader. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Lines that are typed on the serial console, one at each prompt of the shell. */
  readonly typed?: readonly string[];
  readonly shell?: typeof SHELL;
  readonly plugins?: readonly Plugin[];
  /** As the backend's option has it. */
  readonly translate?: boolean | number;
  /** Told of each prompt, before what is typed there. */
  readonly onPrompt?: () => void;
  /** Told of each whole line of the guest's output, without its end. */
  readonly onLine?: (line: string) => void;
}

export interface Machine extends AsyncDisposable {
  readonly vmm: Vmm;
  readonly input: PushInput;
  readonly console: CaptureOutput;
  /** What the firmware says on port 0x402. */
  readonly debug: CaptureOutput;
}

/** A PC with an image to boot, not yet started. The guest's output is the only clock of what is typed, so that every run is the same. */
export async function machineOf({
  image,
  firmware,
  initramfs,
  modules = [],
  memory = MEMORY,
  disk,
  files,
  mode,
  append = '',
  options,
  typed = [],
  shell = SHELL,
  plugins = [],
  translate,
  onPrompt = () => {},
  onLine = () => {},
}: BootOf): Promise<Machine> {
  const console = new CaptureOutput(),
    debug = new CaptureOutput(),
    input = new PushInput();
  const lines = [...typed];
  let line = '';
  const write = (byte: number): void => {
    console.write(byte);
    if (byte === 10) {
      onLine(line.replace(/\r$/, ''));
      line = '';
    } else line += String.fromCharCode(byte);
    if (!line.endsWith(shell.prompt)) return;
    onPrompt();
    if (lines.length > 0) input.push(Buffer.from(`${lines.shift()}${shell.enter}`));
  };
  const commandLine = mode === undefined ? append : `console=ttyS0 ${append} ${guestParameters({ mode })}`;
  const initrd = initramfs === undefined ? disk : Buffer.concat([readFileSync(initramfs), files ?? new Uint8Array()]);
  const vmm = await assemble({
    backend: vmx(translate === undefined ? {} : { translate }),
    memory,
    cpus: 1,
    time: 'virtual',
    debugExit: false,
    plugins,
    debugConsole: debug,
    console: { output: { write }, ...(typed.length === 0 ? {} : { input }) },
    ...(firmware === undefined
      ? {
          boot: {
            image,
            commandLine,
            modules: [...modules, ...(initrd === undefined ? [] : [{ name: 'initramfs', data: initrd }])],
            ...(options === undefined ? {} : { options }),
          },
        }
      : {
          boot: { image: firmware, loader: 'firmware' },
          firmwareKernel: { kernel: image, commandLine, ...(initrd === undefined ? {} : { initrd }) },
        }),
  });
  return { vmm, input, console, debug, [Symbol.asyncDispose]: () => vmm.dispose() };
}

/** How a boot went. */
export interface Boot {
  readonly report: StopReport;
  readonly output: string;
  readonly debug: string;
}

/** Boots to the end. */
export async function boot(what: BootOf, maxInstructions = MOST_INSTRUCTIONS): Promise<Boot> {
  await using machine = await machineOf(what);
  const report = await machine.vmm.run({ maxInstructions });
  return { report, output: machine.console.text, debug: machine.debug.text };
}

/** The report of a guest that switched itself off. */
export const POWERED_OFF = { reason: 'power-off', exitStatus: 0 } as const;

/** Words by which a kernel's log tells of something wrong with the processor or the machine. */
const COMPLAINT =
  /unexpected|fail|warning|\bBUG\b|\bbug\b|spurious|unstable|\berror|oops|call trace|panic|unchecked|\binvalid\b|broken|bogus|unsupported|not supported|vulnerable|lost|timed? ?out|disabling|cannot|can't/i;

/** Lines with such words that a sound PC of this kind (a PCI bus without memory-mapped configuration space, no SMBIOS) has too. */
const EXPECTED = [
  /DMI not present or invalid/,
  /if necessary, use "pci=nocrs" and report a bug/,
  /fail to add MMCONFIG information, can't access extended PCI configuration space/,
  /NX \(Execute Disable\) protection cannot be enabled: non-PAE kernel/,
  // there are no performance counters
  /Performance Events: unsupported p6 CPU model/,
  /intel_pstate: CPU model not supported/,
  // what every kernel does at the end of its start
  /Disabling unused clocks/,
];

/** What a kernel's log complains of. */
export function complaints(log: string): string[] {
  return log
    .split(/\r?\n/)
    .filter(
      (line) => /^\[ *\d+\.\d+\]/.test(line) && COMPLAINT.test(line) && !EXPECTED.some((known) => known.test(line)),
    );
}

/** Names of the checks in a script of the guest, in their order. */
export const checkNames = (script: string): string[] => [...script.matchAll(/^check (\S+)/gm)].map(([, name]) => name);
