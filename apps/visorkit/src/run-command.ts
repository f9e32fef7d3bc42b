/** `visorkit run`: boots an image on a PC. */
import { basename } from 'node:path';
import { describeError, errorForReport, fail, isVisorkitError, silentLogSink, stderrLogSink } from '@visorkit/core';
import type { LogLevel, PluginEntry, RunOptions } from '@visorkit/core';
import type { FirmwareKernel } from '@visorkit/fw-cfg';
import type { BootOptions } from '@visorkit/machine';
import { loadPlugin, loadProject, openSavedVm } from '@visorkit/project';
import type { Project, StoredVm } from '@visorkit/project';
import { assemble } from './assemble.js';
import type { AssembleOptions } from './assemble.js';
import { DEFAULT_BACKEND, openBackend } from './backends.js';
import { takeVmx } from './nested.js';
import { openConsole } from './console.js';
import { readImage, readModule, readModules } from './image-files.js';
import { offeredKernel } from './offered-kernel.js';
import type { ProfileOutput } from './profile-output.js';
import type { RunFlags } from './run-flags.js';
import { errorText, openReport, tell } from './report-output.js';
import { hostTuning } from './host-tuning.js';
import { runMachine, settled } from './run-machine.js';
import { writeAll } from './serial.js';
import { sharedModules } from './shared-modules.js';
import { statusOf } from './statuses.js';
import { keptTranslations } from './kept-translations.js';
import { isTerminal } from './terminal.js';
import { executions, seconds, size, whole, word } from './values.js';

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];

/** The options that the loader gets with the image. */
function loaderOptions(flags: RunFlags): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  if (flags.address !== undefined) options.address = whole('--address', flags.address, 0, 0xffff_ffff);
  if (flags.mode !== undefined) options.mode = word('--mode', flags.mode, ['real16', 'protected32', 'long64']);
  if (flags.entry !== undefined) options.entry = Number(word('--entry', flags.entry, ['16', '32', '64']));
  return options;
}

const LOG_LEVELS: readonly (LogLevel | 'none')[] = ['debug', 'info', 'warn', 'error', 'none'];

/** Introspection for those of its users that are asked for, where no plugin among `given` provides it already. Loaded only now: most runs do without. */
async function introspectionFor(given: readonly PluginEntry[], socket: string | undefined): Promise<PluginEntry[]> {
  const { introspected } = await import('./profiles.js');
  const names = new Set(given.map((entry) => ('plugin' in entry ? entry.plugin : entry).name));
  const own = (await introspected()).filter(({ name }) => !names.has(name));
  if (socket === undefined) return own;
  const { introspector } = await import('@visorkit/project/introspection');
  return [...own, introspector({ path: socket })];
}

/** What a run is made of, everything read and checked. */
interface Plan {
  readonly restore: StoredVm | undefined;
  readonly machine: Omit<AssembleOptions, 'console'>;
  readonly limits: RunOptions;
  readonly serial: string;
  readonly debugcon: string;
  readonly vga: string;
}

/** Options of the command line take precedence over the configuration, and the configuration over the defaults. */
async function plan(
  flags: RunFlags,
  project: Project | undefined,
  more: readonly PluginEntry[],
  introspected: boolean,
  profile: ProfileOutput | undefined,
): Promise<Plan> {
  const config = project?.config;
  const kernel = flags.kernel ?? config?.kernel,
    firmware = flags.firmware ?? config?.firmware;
  const restore = flags.restore === undefined ? undefined : openSavedVm(flags.restore);
  const saved = restore?.state.composition;
  if (kernel === undefined && firmware === undefined && restore === undefined)
    fail('OPTION_MISSING', 'Nothing to run: name an image with --kernel or --firmware, or in a visorkit.config.ts.', {
      option: '--kernel',
    });
  const plugins: PluginEntry[] = [...(project?.plugins ?? [])];
  for (const specifier of flags.plugin ?? [])
    plugins.push(...(await loadPlugin(specifier, process.cwd(), undefined, sharedModules)));
  plugins.push(...more);
  if (profile !== undefined) plugins.push(...(await profile.plugins(kernel)));
  if (introspected || flags.introspector !== undefined || profile !== undefined)
    plugins.push(...(await introspectionFor(plugins, flags.introspector)));
  const maxInstructions =
    flags.maxInstructions === undefined
      ? config?.maxInstructions
      : whole('--max-instructions', flags.maxInstructions, 1, Number.MAX_SAFE_INTEGER);
  const timeout = flags.timeout === undefined ? config?.timeout : seconds('--timeout', flags.timeout);
  // A mode or an address says that the image is a flat binary: nothing else takes one
  const flat = flags.mode !== undefined ? '--mode' : flags.address !== undefined ? '--address' : undefined;
  const loader = flags.loader ?? (flat !== undefined ? 'flat' : config?.loader);
  const log = word('--log', flags.log ?? 'info', LOG_LEVELS);
  const settings = {
    memory: size('--memory', flags.memory ?? String(saved?.memory ?? config?.memory ?? '256M')),
    cpus: whole('--cpus', flags.cpus ?? String(saved?.cpus ?? config?.cpus ?? 1), 1, 255),
    time: word('--time', flags.time ?? saved?.time ?? config?.time ?? 'real', ['real', 'virtual'] as const),
    options: { ...config?.loaderOptions, ...loaderOptions(flags) },
  };
  const commandLine = flags.append ?? config?.append ?? '';
  const modules = await readModules(flags.initrd ?? config?.initrd, flags.module ?? config?.modules);
  let boot: BootOptions | undefined, firmwareKernel: FirmwareKernel | undefined;
  if (firmware !== undefined) {
    if (flat !== undefined || flags.loader !== undefined || flags.entry !== undefined) {
      fail(
        'OPTION_VALUE',
        `${flat ?? (flags.loader !== undefined ? '--loader' : '--entry')} is for images that are started directly, and with --firmware the firmware starts. Leave one of them out.`,
        { option: '--firmware' },
      );
    }
    const image = await readImage('--firmware', firmware);
    boot = { image, imageName: firmware, loader: 'firmware' };
    firmwareKernel = offeredKernel({
      firmware: image,
      kernel: kernel === undefined ? undefined : await readModule('--kernel', kernel),
      kernelName: kernel ?? '',
      modules,
      commandLine,
    });
  } else if (kernel !== undefined) {
    const image = await readImage('--kernel', kernel);
    if (flat !== undefined && flags.loader === undefined && ELF_MAGIC.every((byte, at) => image[at] === byte)) {
      fail(
        'OPTION_VALUE',
        `${flat} is for flat binaries, and "${kernel}" is an ELF file, whose header says where it is loaded. Leave ${flat} out, or add --loader flat to run its bytes as code.`,
        { option: flat },
      );
    }
    boot = {
      image,
      imageName: kernel,
      commandLine,
      options: settings.options,
      modules,
      ...(loader === undefined ? {} : { loader }),
    };
  }
  const chosen = flags.backend === undefined ? project?.backend : { backend: flags.backend };
  const { cpu, plugin: vmx } = await takeVmx(flags.cpu ?? config?.cpu);
  if (vmx !== undefined) plugins.push(vmx);
  const backend = await openBackend(
    chosen ?? { backend: DEFAULT_BACKEND },
    {
      cpu,
      translate: flags.translate === undefined ? undefined : executions('--translate', flags.translate),
    },
    sharedModules,
  );
  return {
    restore,
    machine: {
      backend,
      memory: settings.memory,
      cpus: settings.cpus,
      time: settings.time,
      ...(boot === undefined ? {} : { boot }),
      ...(firmwareKernel === undefined ? {} : { firmwareKernel }),
      plugins,
      onReset: boot === undefined ? 'stop' : (config?.onReset ?? 'stop'), // without an image there is nothing to start
      debugExit: flags.debugExit ?? config?.debugExit ?? false,
      testDevices: flags.testdev ?? config?.testdev ?? false,
      log: log === 'none' ? silentLogSink : stderrLogSink(log),
    },
    limits: {
      ...(maxInstructions === undefined ? {} : { maxInstructions }),
      ...(timeout === undefined ? {} : { timeout }),
    },
    // A screen in the terminal has it for itself, unless it is to share it
    serial: flags.serial ?? config?.serial ?? (flags.vga === 'text' ? 'none' : 'stdio'),
    debugcon: flags.debugcon ?? config?.debugcon ?? 'none',
    vga: flags.vga ?? 'none',
  };
}

/** A guest may take seconds to print its first line: on a terminal the user is told what happens until then. */
function announce({ boot, memory, backend }: Plan['machine'], serial: string, vga: string): void {
  if (!isTerminal(1) || !isTerminal(2)) return;
  const leave = (serial === 'stdio' || vga === 'text') && isTerminal(0) ? '; Ctrl-a x leaves' : '';
  const what = basename(boot?.imageName ?? 'the guest');
  writeAll(2, Buffer.from(`visorkit: starting ${what} with ${memory / 2 ** 20} MiB on ${backend.name}${leave}\n`));
}

/**
 * Runs a guest, with `plugins` besides; resolves with the status the process is to end with.
 * @param introspected the plugins look into the guest's kernel
 */
export async function runCommand(
  flags: RunFlags,
  plugins: readonly PluginEntry[] = [],
  introspected = false,
): Promise<number> {
  // Opened first, so that errors in everything that follows are written to it
  let file = openReport(flags.report);
  let profile: ProfileOutput | undefined;
  try {
    if (flags.profile !== undefined) profile = (await import('./profile-output.js')).openProfile(flags.profile);
    const project = await settled(loadProject(process.cwd(), flags.config, sharedModules), 'the configuration');
    if (flags.report === undefined) file = openReport(project?.config.report);
    const { machine, limits, serial, debugcon, vga, restore } = await settled(
      plan(flags, project, plugins, introspected, profile),
      'a plugin does, while it is loaded',
    );
    announce(machine, serial, vga);
    const console = openConsole(serial, debugcon, vga);
    const { screen } = console;
    const { output, input = screen?.input } = console.serial;
    const kept = await keptTranslations(machine.boot, flags);
    const report = await runMachine(
      console,
      () =>
        assemble({
          ...machine,
          plugins: [...machine.plugins, hostTuning(machine.boot), ...kept],
          console: { output, ...(input === undefined ? {} : { input }) },
          debugConsole: console.debugcon.output,
          ...(screen === undefined
            ? {}
            : { screen: { show: (shown) => screen.show(shown), keyboard: screen.input !== undefined } }),
        }),
      limits,
      { restore, save: flags.save },
    );
    file.write(report);
    tell(report, flags.verbose ?? false);
    profile?.write();
    return report.exitStatus;
  } catch (error) {
    if (!isVisorkitError(error) || error.code === 'REPORT_FILE') throw error;
    const exitStatus = statusOf(error);
    file.write({ reason: 'not-started', why: describeError(error), exitStatus, error: errorForReport(error) });
    writeAll(2, Buffer.from(`${errorText(error, flags.verbose)}\n`));
    return exitStatus;
  } finally {
    file.close();
    profile?.close();
  }
}
