/**
 * Introspection of a running VM from other processes: a socket on which tools are asked for and their rows are given. Both sides are here.
 *
 * A line of JSON each way. Asked: `{ tool, arguments?, pids? }`. Answered: `{ columns }`, then `{ row, line? }` for each row, then `{ end: true }`; or
 * `{ error: { code, message } }` at any time. In a row a bigint is `{ hex: "…" }`. The guest stands still while a tool reads.
 */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { VisorkitError, definePlugin, fail, isVisorkitError } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { VmiToken, toolOf } from '@visorkit/vmi';
import type { Cell, Column, Vmi } from '@visorkit/vmi';

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

/** Answers on a socket for as long as the VM lives. Only the owner of the process may open it. Throws `INTROSPECTOR_SOCKET` when the VM is created. */
export function introspector({ path }: { readonly path: string }): Plugin {
  return definePlugin({
    name: 'introspector',
    uses: { vmi: VmiToken },
    apply(host, { vmi }) {
      const open = new Set<Socket>();
      let server: Server | undefined;
      host.hooks.created.tap(async () => {
        server = await listen(path, (socket) => {
          open.add(socket);
          socket.on('close', () => open.delete(socket));
          serve(socket, vmi);
        });
      });
      host.onDispose(() => {
        for (const socket of open) socket.destroy();
        if (server === undefined) return;
        server.close();
        rmSync(path, { force: true });
      });
    },
  });
}

async function listen(path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer(onConnection);
  try {
    try {
      await bind(server, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || (await isAnswered(path))) throw error;
      // Left by a VM that was killed
      rmSync(path);
      await bind(server, path);
    }
    chmodSync(path, 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new VisorkitError(
      'INTROSPECTOR_SOCKET',
      code === 'EADDRINUSE'
        ? `The introspector's socket cannot be made at "${path}": a file or another VM's socket is there; give another path.`
        : `The introspector's socket "${path}" cannot be opened: ${(error as Error).message}.`,
      { path },
      error,
    );
  }
  server.unref(); // it does not keep the process alive: the VM does
  return server;
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made when listening begins, with the rights that the mask leaves
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}

/** Whether there is something at the path that is no socket, or that somebody listens on. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' || !isSocket(path)));
  });
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}

/** Text of a request, at most. */
const LONGEST_REQUEST = 1 << 16;
/** Rows are written in pieces of so many bytes. */
const PIECE = 64 << 10;

function serve(socket: Socket, vmi: Vmi): void {
  socket.unref();
  socket.setEncoding('utf8');
  let text = '';
  // Who asks may go away at any time
  socket.on('error', () => socket.destroy());
  socket.on('data', (part: string) => {
    text += part;
    if (text.length > LONGEST_REQUEST) socket.destroy();
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      answer(socket, vmi, line);
    }
  });
}

function answer(socket: Socket, vmi: Vmi, line: string): void {
  let pending = '';
  const say = (what: unknown): void => {
    pending += `${JSON.stringify(what, (_key, value: unknown) => (typeof value === 'bigint' ? { hex: value.toString(16) } : value))}\n`;
    if (pending.length < PIECE) return;
    socket.write(pending);
    pending = '';
  };
  try {
    const { columns, rows } = runTool(vmi, requestOf(line));
    say({ columns });
    // An undefined cell would be left out of the list
    for (const { cells, line: shown } of rows) say({ row: cells.map((cell) => cell ?? null), line: shown });
    say({ end: true });
  } catch (error) {
    const { code, message } = isVisorkitError(error) ? error : { code: 'TOOL_FAILED', message: String(error) };
    say({ error: { code, message } });
  }
  socket.write(pending);
}

function requestOf(line: string): ToolRequest {
  let request: unknown;
  try {
    request = JSON.parse(line);
  } catch {
    return fail('INTROSPECTOR_REQUEST', 'A request to the introspector is a line of JSON: { "tool": "process-list" }.');
  }
  const { tool, arguments: given = [], pids } = request as Partial<ToolRequest>;
  const texts = Array.isArray(given) && given.every((item) => typeof item === 'string');
  const numbers = pids === undefined || (Array.isArray(pids) && pids.every((pid) => Number.isInteger(pid)));
  if (typeof tool !== 'string' || !texts || !numbers)
    fail(
      'INTROSPECTOR_REQUEST',
      'A request to the introspector has "tool", a text, and may have "arguments", texts, and "pids", numbers.',
    );
  return { tool, arguments: given, ...(pids === undefined ? {} : { pids }) };
}

/** Asks the introspector of another process. Throws `INTROSPECTOR_SOCKET` where nobody answers, and what the tool throws there. */
export async function askIntrospector(path: string, request: ToolRequest): Promise<ToolAnswer> {
  const socket = connect(path);
  socket.setEncoding('utf8');
  const messages = linesOf(socket)[Symbol.asyncIterator]();
  const next = async (): Promise<Message | undefined> => {
    try {
      const { value, done } = await messages.next();
      return done === true ? undefined : (JSON.parse(value) as Message);
    } catch (error) {
      throw new VisorkitError(
        'INTROSPECTOR_SOCKET',
        `Nobody answers at the socket "${path}": ${(error as Error).message}. Start a VM with \`visorkit run … --introspector ${path}\`.`,
        { path },
        error,
      );
    }
  };
  socket.write(`${JSON.stringify(request)}\n`);
  const read = async (): Promise<Message> => {
    const message = await next();
    if (message === undefined)
      fail('INTROSPECTOR_SOCKET', `The VM at the socket "${path}" has ended in the middle of its answer.`, { path });
    if (message.error !== undefined) {
      socket.destroy();
      throw new VisorkitError(message.error.code, message.error.message);
    }
    return message;
  };
  const { columns = [] } = await read();
  return {
    columns,
    rows: (async function* () {
      for (;;) {
        const { row, line, end } = await read();
        if (end === true) break;
        yield { cells: (row ?? []).map(cellOf), ...(line === undefined ? {} : { line }) };
      }
      socket.destroy();
    })(),
  };
}

interface Message {
  readonly columns?: readonly Column[];
  readonly row?: readonly unknown[];
  readonly line?: string;
  readonly end?: boolean;
  readonly error?: { readonly code: string; readonly message: string };
}

const cellOf = (cell: unknown): Cell =>
  cell === null
    ? undefined
    : typeof cell === 'object'
      ? BigInt(`0x${(cell as { hex: string }).hex}`)
      : (cell as string | number | boolean);

async function* linesOf(socket: Socket): AsyncGenerator<string, void, undefined> {
  let text = '';
  for await (const part of socket as AsyncIterable<string>) {
    text += part;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}
