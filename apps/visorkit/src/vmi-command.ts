/** `visorkit vmi`: a tool of introspection, on a dump, on a running VM, or on one that is started for it. */
import { definePlugin, fail } from '@visorkit/core';
import { askIntrospector, openDumpFile, openSymbolFile, runTool } from '@visorkit/project';
import type { ToolAnswer, ToolRequest, ToolRow } from '@visorkit/project';
import { Vmi, VmiToken, introspection, toolList } from '@visorkit/vmi';
import type { KnownOfGuest, OsProfile } from '@visorkit/vmi';
import { addProfiles, profiles } from './profiles.js';
import type { RunFlags } from './run-command.js';
import { writeAll } from './serial.js';
import { jsonOf, tableOf } from './tables.js';
import { whole } from './values.js';

/** Options as commander gives them. */
export interface VmiFlags extends RunFlags {
  dump?: string;
  socket?: string;
  pid?: string[];
  profile?: string[];
  symbols?: string[];
  json?: boolean;
}

/** Where there is no terminal, lines are as long as they are. */
const width = (): number => (process.stdout.isTTY ? process.stdout.columns : Infinity);
const HIGHEST_PID = 0x7fff_ffff;

/** Resolves with the status the process is to end with. Throws what the tool throws. */
export async function vmiCommand(tool: string | undefined, given: readonly string[], flags: VmiFlags): Promise<number> {
  if (tool === undefined) {
    await list(await profiles(flags.profile));
    return 0;
  }
  const request: ToolRequest = {
    tool,
    arguments: given,
    ...(flags.pid === undefined ? {} : { pids: flags.pid.map((pid) => whole('--pid', pid, 0, HIGHEST_PID)) }),
  };
  const { dump, socket, kernel, firmware, restore } = flags;
  const sources = { '--dump': dump, '--socket': socket, '--kernel': kernel ?? firmware ?? restore };
  const named = Object.entries(sources).filter(([, value]) => value !== undefined);
  if (named.length !== 1)
    fail(
      named.length === 0 ? 'OPTION_MISSING' : 'OPTION_VALUE',
      `${named.length === 0 ? 'No guest is named' : `${named.map(([name]) => name).join(' and ')} name several guests`}: give one of --dump FILE, --socket PATH of a running VM, or --kernel and other options of run for a VM to start.`,
      { options: Object.keys(sources) },
    );
  if (socket !== undefined) await print(await askIntrospector(socket, request), flags);
  else if (dump !== undefined) {
    using file = await openDumpFile(dump);
    const known = { ...file.known, ...knownOf(flags.symbols) };
    const vmi = new Vmi(file.memory, { profiles: await profiles(flags.profile), known: () => known });
    await print(runTool(vmi, request), flags);
  } else return onRun(request, flags);
  return 0;
}

/** What files of symbols say; of several that say the same thing the first holds. */
function knownOf(paths: readonly string[] = []): KnownOfGuest {
  const files = paths.map((path) => openSymbolFile(path));
  const [symbols] = files.flatMap((file) => file.symbols ?? []);
  const [types] = files.flatMap((file) => file.types ?? []);
  const values = Object.assign({}, ...files.map((file) => file.values ?? {}).reverse()) as KnownOfGuest['values'];
  return { ...(symbols === undefined ? {} : { symbols }), ...(types === undefined ? {} : { types }), values };
}

/** Starts a VM, and asks when its run ends: at a limit, or because the guest has done something. */
async function onRun(request: ToolRequest, flags: VmiFlags): Promise<number> {
  const { runCommand } = await import('./run-command.js');
  const known = await profiles(flags.profile);
  let asked: Promise<void> | undefined;
  const status = await runCommand({ serial: 'none', ...flags }, [
    introspection(knownOf(flags.symbols)),
    addProfiles(known),
    definePlugin({
      name: 'vmi-command',
      uses: { vmi: VmiToken },
      apply(host, { vmi }) {
        // Read at once, while the guest is there; printed when the run's own words are out
        host.hooks.paused.tap(() => {
          const { columns, rows } = runTool(vmi, request);
          asked = print({ columns, rows: [...rows] }, flags);
        });
      },
    }),
  ]);
  await asked;
  return asked === undefined ? status : 0;
}

async function print({ columns, rows }: ToolAnswer, { json }: VmiFlags): Promise<void> {
  const collected: ToolRow['cells'][] = [];
  for await (const { cells, line } of rows) {
    if (json === true) say(jsonOf(columns, cells));
    else if (line !== undefined) say(line);
    else collected.push(cells);
  }
  if (json !== true && collected.length > 0) for (const line of tableOf(columns, collected, width())) say(line);
  flush();
}

async function list(known: readonly OsProfile[]): Promise<void> {
  for (const { of, tools } of toolList(known)) {
    say(`Tools for ${of}:`);
    for (const [name, { describe, arguments: parts = [] }] of Object.entries(tools))
      say(`  ${[name, ...parts.map(({ form }) => form)].join(' ').padEnd(28)} ${describe}`);
    say('');
  }
  flush();
}

const PIECE = 64 << 10;
let pending = '';

function say(line: string): void {
  pending += `${line}\n`;
  if (pending.length > PIECE) flush();
}

function flush(): void {
  writeAll(1, Buffer.from(pending));
  pending = '';
}
