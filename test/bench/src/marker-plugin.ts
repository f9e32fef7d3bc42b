/**
 * A port that the benchmark guest writes to when a kernel begins and ends. The console of visorkit gives its bytes out between
 * slices of the run, up to 20 ms late; this stamps the writes themselves. The stamps go to the file that VISORKIT_BENCH_MARKS names.
 */
import { writeFileSync } from 'node:fs';
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { PortBusToken } from '@visorkit/machine';

/** As in guest/main.c. */
const MARKER = 0x1e0;

export default function marker(): Plugin {
  const marks: number[] = [];
  return definePlugin({
    name: 'bench-marker',
    uses: { ports: PortBusToken },
    apply(host, { ports }) {
      const device = { readPort: () => 0xff, writePort: () => void marks.push(performance.now()) };
      ports.register(MARKER, 1, device, 'bench-marker');
      const file = process.env.VISORKIT_BENCH_MARKS;
      if (file !== undefined) host.onDispose(() => writeFileSync(file, JSON.stringify(marks)));
    },
  });
}
