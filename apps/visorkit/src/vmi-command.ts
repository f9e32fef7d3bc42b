/** `visorkit vmi`: a tool of introspection, on a dump, on a running VM, or on one that is started for it. */
import { resolve } from 'node:path';
import { ClockToken, SystemControlToken, definePlugin, fail } from '@visorkit/core';
import {
  DUMP_TOOL,
  DUMP_TOOL_USAGE,
  askIntrospector,
  dumpTool,
  openDump,
  openSymbolFile,
  runTool,
  watchTool,
} from '@visorkit/project/introspection';
import type { ToolAnswer, ToolRequest, ToolRow } from '@visorkit/project/introspection';
import { VmiEventsToken, VmiToken, WATCHES, dumpCpuOf, toolList } from '@visorkit/vmi';
import type { Column, KnownOfGuest, OsProfile, ScanObserver } from '@visorkit/vmi';
import { introspected, profiles } from './profiles.js';
import type { RunFlags } from './run-flags.js';
import { writeAll } from './serial.js';
import { jsonOf, lineOf, tableOf } from './tables.js';
import { whole } from './values.js';

/** Options as commander gives them. */
export interface VmiFlags extends Omit<RunFlags, 'profile'> {
  dump?: string;
  socket?: string;
  pid?: string[];
  profile?: string[];
  symbols?: string[];
  json?: boolean;
  count?: string;
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
    // A path is seen from here, wherever it is opened
    arguments: tool === DUMP_TOOL ? given.map((word, at) => (at === 0 ? resolve(word) : word)) : given,
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
  if (socket !== undefined) {
    const lost = (rows: number): void => tell(`${rows} events came faster than they could be told.`);
    await print({ ...(await askIntrospector(socket, request, { ...searches, lost })), live: tool in WATCHES }, flags);
  } else if (dump !== undefined) {
    using vmi = await openDump(dump, { profiles: await profiles(flags.profile), known: knownOf(flags.symbols) });
    vmi.memory.observer = searches;
    await print(tool === DUMP_TOOL ? await dumpTool(vmi, request) : runTool(vmi, request), flags);
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

/**
 * How long the guest runs at least between two searches for its kernel, in ns of its clock; and, where that goes on meanwhile, for this share of what the
 * last one took: it may be over soon. In virtual time a search comes always behind the same instruction.
 */
const SEARCH_LEAST = 100_000_000;
const SEARCH_SHARE = 1 / 4;
/** A kernel that runs has its interrupt table in the upper half of its addresses, of 32 bits or more. Before that a search finds nothing, and takes seconds. */
const UPPER_HALF = 1n << 31n;

/** Starts a VM. A tool of events tells while it runs; another one is asked when its run ends: at a limit, or because the guest has done something. */
async function onRun(request: ToolRequest, flags: VmiFlags): Promise<number> {
  const { runCommand } = await import('./run-command.js');
  const most = countOf(flags);
  const tool = Object.hasOwn(WATCHES, request.tool) ? WATCHES[request.tool] : undefined;
  let asked: Promise<void> | undefined;
  let failure: { readonly error: unknown } | undefined;
  const { profile, ...more } = flags; // of run it would be another one
  const status = await runCommand({ serial: 'none', ...more }, [
    ...(await introspected(profile, knownOf(flags.symbols))),
    definePlugin({
      name: 'vmi-command',
      uses: { vmi: VmiToken, events: VmiEventsToken, system: SystemControlToken, clock: ClockToken },
      apply(host, { vmi, events, system, clock }) {
        vmi.memory.observer = searches;
        let told = 0;
        /** What the tool cannot do is no fault of the machine: it is told when that has ended. */
        const attempt = (what: () => void): void => {
          try {
            what();
          } catch (error) {
            failure = { error };
            system.exit(0, `${request.tool} has failed`);
          }
        };
        const begin = (): void =>
          attempt(() => {
            let columns: readonly Column[] = [];
            const tell = (row: ToolRow): void => {
              if (told++ < most) printRow(columns, row, flags);
              if (told === most) system.exit(0, `${request.tool} has told ${most} events`);
            };
            asked = Promise.resolve();
            columns = watchTool(vmi, events, request, tell)?.columns ?? [];
          });
        /** A guest that has just been started has no kernel yet. */
        const beginWithKernel = (): void => {
          let next = 0;
          const untap = host.hooks.beforeEntry.tap((vcpu) => {
            const now = clock.now();
            if (now < next || vcpu.idtr.base < UPPER_HALF) return;
            if (vmi.find() === undefined) {
              const then = clock.now();
              next = then + Math.max(SEARCH_LEAST, (then - now) * SEARCH_SHARE);
              return;
            }
            untap();
            begin();
          });
        };
        const start = (): void => {
          if (asked !== undefined || tool === undefined) return;
          if (tool.needsKernel === true) beginWithKernel();
          else begin();
        };
        host.hooks.started.tap(start);
        host.hooks.resumed.tap(start); // of a VM that was restored
        // Read at once, while the guest is there; printed when the run's own words are out
        host.hooks.paused.tap(() => {
          if (failure !== undefined) return;
          if (tool !== undefined) {
            if (asked === undefined) begin(); // says that there is no kernel
            return flush();
          }
          attempt(() => {
            if (request.tool === DUMP_TOOL) {
              asked = dumpTool(vmi, request, host.vcpus.map(dumpCpuOf)).then((answer) => print(answer, flags));
              return;
            }
            const { columns, rows } = runTool(vmi, request);
            asked = print({ columns, rows: [...rows] }, flags);
          });
        });
      },
    }),
  ]);
  await asked;
  if (failure !== undefined) throw failure.error;
  return asked === undefined ? status : 0;
}

/** Sentences that are told; memory that is made to mislead has no end of them. */
const MOST_SENTENCES = 20;
const sentences = new Set<string>();
/** How far searches are is shown where it takes longer than this, ms, and anew each time that so much has passed. */
const SHOWN_EACH = 250;
let shownAt = performance.now();
let shown = false;

const searches: ScanObserver = {
  progress(what, done, total) {
    if (!process.stderr.isTTY || performance.now() - shownAt < SHOWN_EACH) return;
    shownAt = performance.now();
    shown = true;
    writeAll(2, Buffer.from(`${ERASE}Looking for ${what}: ${Math.floor((100 * done) / total)} %`));
  },
  stopped(sentence) {
    if (sentences.has(sentence) || sentences.size === MOST_SENTENCES) return;
    sentences.add(sentence);
    tell(sentence);
  },
};
const ERASE = '\r\x1b[K';

/** A line for people, in the place of what is shown of a search. */
function tell(sentence: string): void {
  settle();
  writeAll(2, Buffer.from(`visorkit: ${sentence}\n`));
}

function settle(): void {
  if (shown) writeAll(2, Buffer.from(ERASE));
  shown = false;
}

const countOf = ({ count }: VmiFlags): number =>
  count === undefined ? Infinity : whole('--count', count, 1, Number.MAX_SAFE_INTEGER);

/** A row that is not to wait for others: of an event, or in a form of its own. */
function printRow(columns: readonly Column[], { cells, line }: ToolRow, { json }: VmiFlags): void {
  if (json === true) say(jsonOf(columns, cells));
  else say(line ?? lineOf(columns, cells));
}

async function print({ columns, rows, live = false }: ToolAnswer & { live?: boolean }, flags: VmiFlags): Promise<void> {
  const table: ToolRow['cells'][] = [];
  const most = countOf(flags);
  let left = most;
  for await (const row of rows) {
    if (live || flags.json === true || row.line !== undefined) printRow(columns, row, flags);
    else table.push(row.cells);
    if (live) flush();
    if (--left === 0) break;
  }
  if (table.length > 0) for (const line of tableOf(columns, table, width())) say(line);
  flush();
}

async function list(known: readonly OsProfile[]): Promise<void> {
  for (const { of, tools } of toolList(known)) {
    say(`Tools for ${of}:`);
    for (const [name, { describe, arguments: parts = [] }] of Object.entries(tools))
      say(`  ${[name, ...parts.map(({ form }) => form)].join(' ').padEnd(28)} ${describe}`);
    if (of === 'every guest') say(`  ${DUMP_TOOL_USAGE.form.padEnd(28)} ${DUMP_TOOL_USAGE.describe}`);
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
  settle();
  writeAll(1, Buffer.from(pending));
  pending = '';
}
