/** Asks the introspector of a VM in another process. */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { VisorkitError, fail } from '@visorkit/core';
import type { ScanObserver } from '@visorkit/vmi';
import { rowOf } from './tool-protocol.js';
import type { Message, ToolAnswer, ToolRequest } from './tool-protocol.js';

/** Who is told what is not an answer. */
export interface AnswerObserver extends ScanObserver {
  /** So many events were not taken in time. */
  lost?(rows: number): void;
}

/**
 * Asks the introspector of another process. Throws `INTROSPECTOR_SOCKET` where nobody answers, and what the
 * tool throws there.
 */
export async function askIntrospector(
  path: string,
  request: ToolRequest,
  observer: AnswerObserver = {},
): Promise<ToolAnswer> {
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
    for (;;) {
      const message = await next();
      if (message === undefined)
        fail('INTROSPECTOR_SOCKET', `The VM at the socket "${path}" has ended in the middle of its answer.`, { path });
      if (message.error !== undefined) {
        socket.destroy();
        throw new VisorkitError(message.error.code, message.error.message);
      }
      if (message.lost !== undefined) observer.lost?.(message.lost);
      else if (message.stopped !== undefined) observer.stopped?.(message.stopped);
      else if (message.search !== undefined) observer.progress?.(message.search, message.done ?? 0, message.total ?? 0);
      else return message;
    }
  };
  const { columns = [] } = await read();
  return {
    columns,
    rows: (async function* () {
      // Who stops reading ends a tool of events
      using _end = { [Symbol.dispose]: () => socket.destroy() };
      for (;;) {
        const message = await read();
        if (message.end === true) break;
        yield rowOf(message);
      }
    })(),
  };
}

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
