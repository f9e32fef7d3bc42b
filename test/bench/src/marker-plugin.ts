/**
 * A port that the benchmark guest writes to when a kernel begins and ends. The console of visorkit gives its bytes out between
 * slices of the run, up to 20 ms late; this stamps the writes themselves. The stamps go to the file that VISORKIT_BENCH_MARKS names.
 */
import { writeFileSync } from 'node:fs';
import type { Plugin } from '@visorkit/core';
import { PortBusToken } from '@visorkit/machine';

/** As in guest/main.c. */
const MARKER = 0x1e0;

export default function marker(): Plugin {
  const marks: number[] = [];
  return {
    name: 'bench-marker',
    requires: { services: [PortBusToken] },
    apply(host) {
      host.services
        .get(PortBusToken)
        .register(
          MARKER,
          1,
          { readPort: () => 0xff, writePort: () => void marks.push(performance.now()) },
          'bench-marker',
        );
      const file = process.env.VISORKIT_BENCH_MARKS;
      if (file !== undefined) host.onDispose(() => writeFileSync(file, JSON.stringify(marks)));
    },
  };
}
