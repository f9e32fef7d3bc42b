import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { VmiToken } from '@visorkit/vmi';

/** Whenever the VM stands still, tells what runs in it. */
export const listTasks = (tell: (text: string) => void): Plugin =>
  definePlugin({
    name: 'list-tasks',
    uses: { vmi: VmiToken },
    apply({ hooks }, { vmi }) {
      hooks.paused.tap(() => {
        for (const { pid, name } of vmi.find()?.processes() ?? []) tell(`${pid} ${name}`);
      });
    },
  });
