/** Larger pages of the host for the RAM of guests that run long. */
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import type { BootOptions } from '@visorkit/machine';
import { adviseHugePages } from '@visorkit/project';

/** What is started from an image of this size is an operating system: much of its RAM is filled before it runs. */
const LARGE_IMAGE = 1 << 20;
/** Other guests have to run for a while first: a short run need not wait until they have been asked for. */
const LONG_RUN_MS = 100;

export function hugePages(boot: BootOptions | undefined): Plugin {
  const parts = [boot?.image, ...(boot?.modules ?? []).map(({ data }) => data)];
  const isLarge = parts.reduce((sum, part) => sum + (part?.length ?? 0), 0) >= LARGE_IMAGE;
  return definePlugin({
    name: 'huge-pages',
    uses: { memory: GuestMemoryToken },
    apply(host, { memory }) {
      if (isLarge) {
        host.hooks.created.tap(async () => void (await adviseHugePages(memory)));
        return;
      }
      let long: NodeJS.Timeout | undefined;
      host.hooks.started.tap(() => {
        long = setTimeout(() => void adviseHugePages(memory), LONG_RUN_MS);
      });
      host.onDispose(() => clearTimeout(long));
    },
  });
}
