import type { Vmm } from '@visorkit/core';
import { RESUME } from '@visorkit/core';

/** Runs a guest that uses a port nobody answers at, says so, answers with 0xFF from then on, and lets it go on. */
export async function answerPorts(vmm: Vmm, tell: (text: string) => void): Promise<string> {
  const first = await vmm.run({ maxInstructions: 1_000_000 });
  if (first.reason !== 'unhandled-exit') return first.why;
  tell(`${first.failure?.exit.name} at ${first.failure?.vcpu.rip}`);
  vmm.hooks.exit.for('io').tap((exit) => {
    if (exit.io.input) exit.io.value = 0xff;
    return RESUME;
  });
  return (await vmm.run({ maxInstructions: 1_000_000 })).why;
}
