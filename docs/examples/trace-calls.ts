import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { VmiEventsToken } from '@visorkit/vmi';
import type { SymbolResolver } from '@visorkit/vmi';

/** From the guest's VMCALL with 1 in RAX on, tells the calls of a function by its name, with two arguments, and what each returns. */
export const traceCalls = (name: string, resolve: SymbolResolver, tell: (text: string) => void): Plugin =>
  definePlugin({
    name: 'trace-calls',
    uses: { events: VmiEventsToken },
    apply(_host, { events }) {
      const undo = events.guestRequest({ rax: 1 }, () => {
        undo();
        events.traceFunction({ name, resolve }, (call) => tell(`${name}(${call.arguments.join(', ')})`), {
          arguments: 2,
          onReturn: (value) => tell(`${name} gives ${value}`),
        });
      });
    },
  });
