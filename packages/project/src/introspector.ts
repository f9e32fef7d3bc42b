/** Introspection of a running VM from other processes: a socket on which tools are asked for. The guest stands still while a tool reads. */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { VisorkitError, definePlugin, fail } from '@visorkit/core';
import type { Plugin, Undo, Vcpu } from '@visorkit/core';
import { VmiEventsToken, VmiToken, dumpCpuOf } from '@visorkit/vmi';
import type { Vmi, VmiEvents } from '@visorkit/vmi';
import { DUMP_TOOL, dumpTool } from './dump-tool.js';
import { errorMessage, rowMessage, runTool, textOf, watchTool } from './tool-protocol.js';
import type { Message, ToolRequest } from './tool-protocol.js';

/** Answers on a socket for as long as the VM lives. Only the owner of the process may open it. Throws `INTROSPECTOR_SOCKET` when the VM is created. */
export function introspector({ path }: { readonly path: string }): Plugin {
  return definePlugin({
    name: 'introspector',
    uses: { vmi: VmiToken, events: VmiEventsToken },
    apply(host, { vmi, events }) {
      const open = new Set<Socket>();
      let server: Server | undefined;
      host.hooks.created.tap(async () => {
        server = await listen(path, (socket) => {
          open.add(socket);
          socket.on('close', () => open.delete(socket));
          serve(socket, { vmi, events, vcpus: host.vcpus });
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
/** How often who asks is told how far a search is, ms. */
const PROGRESS_EACH = 200;
/** Rows are written in pieces of so many bytes. */
const PIECE = 64 << 10;

/** Bytes that may wait for who asks: a guest makes events faster than a slow reader takes them. */
const MOST_WAITING = 16 << 20;

/** What is asked. */
interface Guest {
  readonly vmi: Vmi;
  readonly events: VmiEvents;
  readonly vcpus: readonly Vcpu[];
}

function serve(socket: Socket, guest: Guest): void {
  const watched: Undo[] = [];
  const out = new Outbox(socket);
  socket.unref();
  socket.setEncoding('utf8');
  // Who asks may go away at any time
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    for (const undo of watched) undo();
  });
  let text = '';
  socket.on('data', (part: string) => {
    text += part;
    if (text.length > LONGEST_REQUEST) socket.destroy();
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      answer(out, guest, line, watched)
        .catch((error: unknown) => out.say(errorMessage(error)))
        .finally(() => out.flush());
    }
  });
}

async function answer(out: Outbox, { vmi, events, vcpus }: Guest, line: string, watched: Undo[]): Promise<void> {
  const request = requestOf(line);
  using _observed = observe(vmi, out);
  // Told while the guest runs, from inside its exits
  const watch = watchTool(vmi, events, request, (row) => out.event(rowMessage(row)));
  if (watch !== undefined) {
    watched.push(watch.undo);
    out.say({ columns: watch.columns });
    return;
  }
  const { columns, rows } =
    request.tool === DUMP_TOOL ? await dumpTool(vmi, request, vcpus.map(dumpCpuOf)) : runTool(vmi, request);
  out.say({ columns });
  for await (const row of rows) out.say(rowMessage(row));
  out.say({ end: true });
}

/** For as long as it is in use, who asks is told of searches: while they go on, before any row. */
function observe({ memory }: Vmi, out: Outbox): Disposable {
  const { observer } = memory;
  let last = performance.now();
  memory.observer = {
    progress(search, done, total) {
      if (performance.now() - last < PROGRESS_EACH) return;
      last = performance.now();
      out.say({ search, done, total });
      out.flush();
    },
    stopped: (stopped) => out.say({ stopped }),
  };
  return { [Symbol.dispose]: () => (memory.observer = observer) };
}

/** What is to be sent, in pieces. */
class Outbox {
  #pending = '';
  #lost = 0;
  #flushes = false;

  constructor(private readonly socket: Socket) {}

  say(message: Message): void {
    this.#pending += textOf(message);
    if (this.#pending.length >= PIECE) this.flush();
  }

  /** Of a guest that runs: sent when it comes to rest between two exits, or counted where too much waits already. */
  event(message: Message): void {
    if (this.socket.writableLength + this.#pending.length > MOST_WAITING) {
      this.#lost++;
      return;
    }
    if (this.#lost > 0) this.say({ lost: this.#lost });
    this.#lost = 0;
    this.say(message);
    if (this.#flushes) return;
    this.#flushes = true;
    setImmediate(() => {
      this.#flushes = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#pending !== '') this.socket.write(this.#pending);
    this.#pending = '';
  }
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
