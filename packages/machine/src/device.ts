/** What every device model is. */
import type { GenericSchema } from 'valibot';

/**
 * A device: register offsets and bits named in its file, what it needs from outside (an interrupt line, an output, a clock)
 * given to its constructor, and plain-data state.
 *
 * **Times in a state are relative**, because a machine may be restored when its clock shows another time: a deadline is
 * saved as ns from the moment of saving (negative when it has passed and has not fired), a start as ns before that moment, and
 * `restore` adds the clock's now to them. {@link Alarm} and {@link Oscillator} do so by themselves. Numbers of ticks count
 * from the start of an oscillator that is saved with them.
 *
 * **`save` changes nothing**: it does not catch up with what is due, tells nobody, and gives copies.
 *
 * **`restore` restores this device alone**: it sets the levels of its own interrupt lines, but neither raises an interrupt anew nor calls
 * anybody it is connected to. Sinks of interrupt lines are not told meanwhile; what they have latched is in their own states.
 */
export interface Device<State = unknown> {
  /** Unique within the machine: `com1`, `pic8259`, … A saved machine knows the device by it. */
  readonly name: string;
  /** What a state must be, in each field. A state that does not fit never gets to `restore`. */
  readonly schema: GenericSchema<State>;
  /** Back to the state after power-on or a reset of the machine. */
  reset(): void;
  /**
   * Does what firmware would have done to the device, for a system that is started without firmware. Called after a
   * reset, before the image is loaded. Most devices do not need it.
   */
  setUp?(): void;
  /** All state that the guest can observe, as plain data that JSON can represent; Uint8Array is allowed too. */
  save(): State;
  /** Takes a state that `save` gave, or one like it. */
  restore(state: State): void;
}
