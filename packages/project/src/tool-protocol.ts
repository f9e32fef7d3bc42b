/**
 * Tools of introspection as they are asked for and answered, in this process or over a socket.
 *
 * On the socket, a line of JSON each way. Asked: `{ tool, arguments?, pids? }`. Answered: `{ columns }`, then `{ row, line? }` for each row, then `{ end: true }`; or
 * `{ error: { code, message } }` at any time. A search tells how far it is, `{ search: "tasks", done: 1048576, total: 268435456 }`, and `{ stopped: "…" }`, a
 * sentence, where it has ended at its bound. A tool of events goes on until who asks closes the connection; rows that are not taken in time are counted in their place,
 * `{ lost: 3 }`. In a row a bigint is `{ hex: "…" }`, and nothing is null.
 */
import { isVisorkitError } from '@visorkit/core';
import type { Undo } from '@visorkit/core';
import { eventToolOf, toolOf } from '@visorkit/vmi';
import type { Cell, Column, Vmi, VmiEvents } from '@visorkit/vmi';

export interface ToolRequest {
  readonly tool: string;
  readonly arguments?: readonly string[];
  readonly pids?: readonly number[];
}

/** A row, and the text of it where the tool has a form of its own. */
export interface ToolRow {
  readonly cells: readonly Cell[];
  readonly line?: string;
}

export interface ToolAnswer {
  readonly columns: readonly Column[];
  readonly rows: AsyncIterable<ToolRow> | Iterable<ToolRow>;
}

/** Runs a tool on a guest. Throws what finding and running it throws. */
export function runTool(
  vmi: Vmi,
  { tool: name, arguments: given = [], pids }: ToolRequest,
): {
  readonly columns: readonly Column[];
  readonly rows: Iterable<ToolRow>;
} {
  eventToolOf(vmi, undefined, name)?.watch({}, () => {}); // throws: there are no events here
  const tool = toolOf(vmi, name);
  const { columns, line } = tool.report;
  const cells = tool.rows({ arguments: given, ...(pids === undefined ? {} : { pids }) });
  return {
    columns,
    rows: (function* () {
      for (const row of cells) yield { cells: row, ...(line === undefined ? {} : { line: line(row) }) };
    })(),
  };
}

/** Runs a tool of events until it is undone; undefined where the name is that of another tool. Throws what subscribing throws. */
export function watchTool(
  vmi: Vmi,
  events: VmiEvents,
  { tool: name, arguments: given = [], pids }: ToolRequest,
  tell: (row: ToolRow) => void,
): { readonly columns: readonly Column[]; readonly undo: Undo } | undefined {
  const tool = eventToolOf(vmi, events, name);
  if (tool === undefined) return undefined;
  const { columns, line } = tool.report;
  const options = { arguments: given, ...(pids === undefined ? {} : { pids }) };
  const undo = tool.watch(options, (cells) => tell({ cells, ...(line === undefined ? {} : { line: line(cells) }) }));
  return { columns, undo };
}

/** What is answered. */
export interface Message {
  readonly columns?: readonly Column[];
  readonly row?: readonly unknown[];
  readonly line?: string;
  readonly lost?: number;
  readonly search?: string;
  readonly done?: number;
  readonly total?: number;
  readonly stopped?: string;
  readonly end?: boolean;
  readonly error?: { readonly code: string; readonly message: string };
}

export function textOf(message: Message): string {
  return `${JSON.stringify(message, (_key, value: unknown) => (typeof value === 'bigint' ? { hex: value.toString(16) } : value))}\n`;
}

export function rowMessage({ cells, line }: ToolRow): Message {
  // An undefined cell would be left out of the list
  return { row: cells.map((cell) => cell ?? null), ...(line === undefined ? {} : { line }) };
}

export function rowOf({ row = [], line }: Message): ToolRow {
  const cells = row.map(
    (cell): Cell =>
      cell === null
        ? undefined
        : typeof cell === 'object'
          ? BigInt(`0x${(cell as { hex: string }).hex}`)
          : (cell as string | number | boolean),
  );
  return { cells, ...(line === undefined ? {} : { line }) };
}

export function errorMessage(error: unknown): Message {
  const { code, message } = isVisorkitError(error) ? error : { code: 'TOOL_FAILED', message: String(error) };
  return { error: { code, message } };
}
