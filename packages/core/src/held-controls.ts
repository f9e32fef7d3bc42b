/** Controls that a plugin holds for a time. */
import type { ControlBook, ControlNeeds } from './controls.js';
import { fail } from './errors.js';
import type { Undo } from './hook.js';
import type { Vcpu } from './vcpu.js';

/** `host.controls`. */
export interface HeldControls {
  /**
   * Has the processor trap what `needs` says, on one vCPU or on all of them, from the next entry on until what is returned is
   * called. Counted: what several holders, or one holder several times, have asked for stays until the last has let go, and
   * without holders the guest runs as if nobody had asked. May be called at any time from `apply` on, from a handler too.
   * Throws `CONTROL_CONFLICT`, naming the holders, and then nothing has changed.
   */
  hold(needs: ControlNeeds, vcpu?: Pick<Vcpu, 'index'>): Undo;
}

/** The controls of one plugin. `changed` is told which vCPU to set anew. */
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
