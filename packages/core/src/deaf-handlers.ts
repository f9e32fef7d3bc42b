/** Handlers that are never called, because the backend does not have their exit: a mistake that is hard to see. */
import type { Backend } from './backend.js';
import { KERNEL_EXITS } from './dispatch.js';
import { EXIT_REASON_COUNT, exitReasonName } from './exit-reasons.js';
import { Stage } from './hooks.js';
import type { Hooks } from './hooks.js';
import type { Logger } from './logger.js';

type Named = Pick<Backend, 'name' | 'capabilities'>;

/**
 * Warns of each such handler that is not in `warned` yet, and adds it there. Handlers at stage Architecture and later are left out: they wait
 * for exits that a backend need not have. `alternatives` are other backends, one of which may have the missing exit.
 */
export function warnOfDeafHandlers(
  hooks: Hooks,
  backend: Named,
  alternatives: readonly Named[],
  logger: Logger,
  warned: Set<string>,
): void {
  for (let reason = 0; reason < EXIT_REASON_COUNT; reason++) {
    const exit = exitReasonName(reason),
      capability = `exit.${exit}`;
    if (KERNEL_EXITS.has(reason) || backend.capabilities.has(capability)) continue;
    for (const { plugin, name, stage } of hooks.exit.for(reason).taps) {
      if (stage >= Stage.Architecture) continue;
      const owner = plugin === '' ? name : plugin,
        key = `${owner} ${exit}`;
      if (warned.has(key)) continue;
      warned.add(key);
      const others = alternatives
        .filter((other) => other.name !== backend.name && other.capabilities.has(capability))
        .map((other) => other.name);
      const elsewhere = others.length === 0 ? '' : `; the backend ${others.join(' or ')} has them`;
      logger.warn(
        `plugin ${owner} handles ${exit} exits, which the backend ${backend.name} does not have: the handler is never called${elsewhere}`,
      );
    }
  }
}
