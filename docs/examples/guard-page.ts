import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { VmiEventsToken } from '@visorkit/vmi';

/** A page that keeps its content: writes to it are told, and change nothing. The third one ends it. */
export const guardPage = (gpa: number, tell: (text: string) => void): Plugin =>
  definePlugin({
    name: 'guard-page',
    uses: { events: VmiEventsToken },
    apply(_host, { events }) {
      let left = 3;
      const undo = events.memory({ gpa, access: 'w' }, ({ offset, size, value, rip }) => {
        tell(`${size} bytes at offset ${offset}: 0x${value.toString(16)}, from 0x${rip.toString(16)}`);
        if (--left === 0) undo();
        return { withoutWrite: true };
      });
    },
  });
