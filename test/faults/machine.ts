/** Whole PCs for guests that mean no good: the real backend, every exit handler, every device. */
import { VmxBackend } from '@visorkit/backend-vmx';
import { definePlugin } from '@visorkit/core';
import type { InitialState, Plugin, StopReport, Vmm } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { BootLoadersToken, compose } from '@visorkit/machine';
import type { BootContext } from '@visorkit/machine';
import { pcPlatform } from '@visorkit/pc';
import { expect } from 'vitest';

/** How a run may end, whatever the guest does. Anything else is the host's fault. */
const GUESTS_OWN_ENDS = new Set([
  'halted',
  'triple-fault',
  'max-instructions',
  'power-off',
  'reset',
  'exit',
  'unhandled-exit',
]);

/** A boot loader that puts anything anywhere and starts the processor in any state. */
function loaderOf(load: (context: BootContext) => InitialState): Plugin {
  return definePlugin({
    name: 'hostile-loader',
    uses: { loaders: BootLoadersToken },
    apply: (_host, { loaders }) =>
      void loaders.add({
        name: 'hostile',
        recognises: () => true,
        load: (context) => context.vcpu.setInitialState(load(context)),
      }),
  });
}

export interface HostileOptions {
  readonly memory?: number;
  readonly plugins?: readonly Plugin[];
  readonly time?: 'real' | 'virtual';
  readonly cpus?: number;
}

/** A PC whose guest starts as `load` says. */
export function hostileMachine(load: (context: BootContext) => InitialState, options: HostileOptions = {}): Vmm {
  return compose({
    backend: new VmxBackend(),
    memory: options.memory ?? 0x200000,
    time: options.time ?? 'virtual',
    cpus: options.cpus ?? 1,
    boot: { image: Uint8Array.of(0) },
    plugins: [...exits(), ...pcPlatform({ debugExit: true }), loaderOf(load), ...(options.plugins ?? [])],
  });
}

/** Runs a hostile guest and checks what holds for all of them: the host lives, the run ends in time, and the report says why. */
export async function survive(
  what: string,
  load: (context: BootContext) => InitialState,
  run: { maxInstructions: number },
  options?: HostileOptions,
): Promise<StopReport> {
  await using vmm = hostileMachine(load, options);
  const report = await vmm.run({ ...run, timeout: 20 });
  const why = `${what}: ${report.reason}: ${report.why} ${report.failure?.code[0] ?? ''}`;
  expect(GUESTS_OWN_ENDS, why).toContain(report.reason);
  expect(report.why.length, why).toBeGreaterThan(10);
  expect(JSON.stringify(report), why).toContain(report.reason);
  return report;
}
