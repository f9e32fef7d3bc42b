import { ClockToken, definePlugin, inject, injectable, optional, token } from '@visorkit/core';
import type { Clock, Plugin, Token } from '@visorkit/core';
import { LocalApicsToken } from '@visorkit/machine';

/** What others may ask for: who wants to note something in the order in which it happened in the guest. */
export interface EventLog {
  note(text: string): void;
  readonly lines: readonly string[];
}
export const EventLogToken: Token<EventLog> = token('example/event-log', 'visorkit-event-log');

/** The service. The container makes it when somebody first asks for it, and gives it what its constructor names. */
@injectable()
class ClockedLog implements EventLog {
  readonly lines: string[] = [];
  readonly #clock: Clock;

  constructor(@inject(ClockToken) clock: Clock) {
    this.#clock = clock;
  }

  note(text: string): void {
    this.lines.push(`${Math.round(this.#clock.now() / 1000)} us: ${text}`);
  }

  /** Called when the VM is disposed of, after everybody who uses the log. */
  dispose(): void {
    this.lines.length = 0;
  }
}

/** Gives a VM the log. */
export const eventLog = (): Plugin =>
  definePlugin({ name: 'event-log', provides: [{ token: EventLogToken, type: ClockedLog }] });

/** Uses it; the order of the two in the list of plugins does not matter. */
export const noteHalts = (): Plugin =>
  definePlugin({
    name: 'note-halts',
    uses: { log: EventLogToken, apics: optional(LocalApicsToken) },
    apply({ hooks }, { log, apics }) {
      log.note(apics === undefined ? 'a machine without APICs' : 'a machine with APICs');
      hooks.exit.for('hlt').tap((exit, vcpu) => log.note(`vCPU ${vcpu.index} halts`));
    },
  });
