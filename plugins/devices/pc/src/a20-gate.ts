/**
 * Address line 20 of the processors, which the keyboard controller and port 0x92 gate: the last one written decides. (Chipsets have an OR of the
 * two. Software that opens the gate finds it open either way; software that closes one of the two expects that it is closed.)
 */
import type { PluginHost } from '@visorkit/core';
import type { ProcessorPins } from '@visorkit/machine';

/** What to do with the gate's level; a backend without these pins keeps it open and says so once. */
export function a20Gate(pins: ProcessorPins | undefined, host: PluginHost): (enabled: boolean) => void {
  if (pins !== undefined) return (enabled) => pins.gateA20(!enabled);
  let said = false;
  return (enabled) => {
    if (enabled || said) return;
    said = true;
    host.logger.warn('the guest closed the A20 gate, which this backend cannot: memory above 1 MiB does not wrap');
  };
}
