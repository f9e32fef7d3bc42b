/** Controls that a plugin holds for a time. */
import type { ControlBook, ControlNeeds } from './controls.js';
import { fail } from './errors.js';
import type { Undo } from './hook.js';
import type { Vcpu } from './vcpu.js';

/** `host.controls`. */
export interface HeldControls {
  /**
   * Makes the processor trap what `needs` says, on one vCPU or on all of them, from the next entry until the returned function is
   * called. Holds are counted: a control that was asked for several times, by one holder or several, stays until the last hold ends;
   * then the guest runs as if nobody had asked. May be called at any time from `apply` on, also from a handler.
   * Throws `CONTROL_CONFLICT`, naming the holders, and then nothing has changed.
   */
  hold(needs: ControlNeeds, vcpu?: Pick<Vcpu, 'index'>): Undo;
}

/** The controls of one plugin. `changed` is called with each vCPU whose controls have changed. */
export function heldControls(
  book: ControlBook,
  holder: string,
  cpus: number,
  changed: (vcpu: number) => void,
): HeldControls {
  const all = Array.from({ length: cpus }, (_unused, index) => index);
  return {
    hold(needs, vcpu) {
      if (vcpu !== undefined && all[vcpu.index] === undefined) {
        fail('VCPU_INDEX', `There is no vCPU ${vcpu.index}; this VM has ${cpus}.`, { index: vcpu.index });
      }
      return book.hold(holder, needs, vcpu === undefined ? all : [vcpu.index], changed);
    },
  };
}
