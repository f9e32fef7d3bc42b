/** What Linux is asked for guests that run long: larger pages for their RAM, and that other threads leave a processor to them. */
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import type { BootOptions } from '@visorkit/machine';
import { adviseHugePages, spareThisProcessor } from '@visorkit/project';

/** What is started from an image of this size is an operating system: it runs long, and much of its RAM is filled before it does. */
const LARGE_IMAGE = 1 << 20;
/** Other guests have to run for a while first: a short run need not wait until Linux has been asked. */
const LONG_RUN_MS = 100;
/** And those that were restored: in the first half second they bring the pages that they need. */
const LONG_AFTER_RESTORE_MS = 500;

export function hostTuning(boot?: BootOptions): Plugin {
  const parts = [boot?.image, ...(boot?.modules ?? []).map(({ data }) => data)];
  const isLarge = parts.reduce((sum, part) => sum + (part?.length ?? 0), 0) >= LARGE_IMAGE;
  return definePlugin({
    name: 'host-tuning',
    uses: { memory: GuestMemoryToken },
    apply(host, { memory }) {
      const ask = async (): Promise<void> => {
        await adviseHugePages(memory);
        await spareThisProcessor();
      };
      if (isLarge) {
        host.hooks.created.tap(ask);
        return;
      }
      let long: NodeJS.Timeout | undefined;
      const askAfter = (ms: number) => (): void => {
        long ??= setTimeout(() => void ask(), ms);
      };
      host.hooks.started.tap(askAfter(LONG_RUN_MS));
      host.hooks.resumed.tap(askAfter(LONG_AFTER_RESTORE_MS));
      host.onDispose(() => clearTimeout(long));
    },
  });
}
