/** What a page's worker would run: the addition, and a guest that rests until a plugin, which the container makes, switches it off. */
import { VmxBackend } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { SystemControlToken, host, inject, injectable } from '@visorkit/core';
import type { Plugin, SystemControl } from '@visorkit/core';
import { hlt } from '@visorkit/exits';
import { addition } from '@visorkit/hello/addition';
import { TimerQueueToken, compose } from '@visorkit/machine';
import type { TimerQueue } from '@visorkit/machine';

const REST_MS = 20;

@injectable()
class SwitchOff {
  constructor(
    @inject(TimerQueueToken) private readonly timers: TimerQueue,
    @inject(SystemControlToken) private readonly system: SystemControl,
  ) {}

  later(): void {
    this.timers.schedule(1e6, () => {
      this.timers.schedule(REST_MS * 1e6, () => this.system.powerOff('enough'));
    });
  }
}

const switchOff: Plugin = {
  name: 'switch-off',
  kernel: '>=0.1 <9',
  apply: ({ make }) => make(SwitchOff).later(),
};

/** `processor` is what VmxBackend takes. */
export async function page(processor?: URL | Uint8Array<ArrayBuffer>): Promise<unknown> {
  let printed = '';
  const exits: string[] = [];
  await using adder = addition(
    new VmxBackend({ processor }),
    (text) => (printed += text),
    (line) => exits.push(line),
  );
  const { reason } = await adder.run();
  await using sleeper = compose({
    backend: new VmxBackend({ processor }),
    memory: '64K',
    plugins: [hlt(), bootFlat(), switchOff],
    // again: sti; hlt; jmp again
    boot: { image: Uint8Array.of(0xfb, 0xf4, 0xeb, 0xfc), loader: 'flat', options: { address: 0x1000 } },
  });
  const began = host.now();
  const { why } = await sleeper.run();
  return { printed, exits, reason, why, rested: host.now() - began >= REST_MS };
}
