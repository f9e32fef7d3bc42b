/**
 * Converts between nanoseconds and the ticks of an oscillator without rounding drift.
 *
 * A product of nanoseconds and a frequency passes 2^53 after a few minutes, so whole seconds are split off first; both
 * conversions are exact for every time a VM can live through and allocate nothing.
 */

const NANOSECONDS_PER_SECOND = 1_000_000_000;

/** An oscillator of a fixed whole frequency that has run since the VM's start. */
export class TickRate {
  /** @param hz frequency in hertz, a whole number from 1 to 4 GHz */
  constructor(readonly hz: number) {}

  /** Ticks completed at `ns` nanoseconds since the start. */
  ticksAt(ns: number): number {
    const seconds = Math.floor(ns / NANOSECONDS_PER_SECOND);
    const rest = ns - seconds * NANOSECONDS_PER_SECOND;
    return seconds * this.hz + floorDivide(rest, this.hz);
  }

  /** The first nanosecond at which `ticks` ticks are complete; about, beyond 2^53 ns (104 days). */
  timeOf(ticks: number): number {
    if (ticks === Infinity) return Infinity;
    const seconds = Math.floor(ticks / this.hz);
    const rest = ticks - seconds * this.hz;
    const start = seconds * NANOSECONDS_PER_SECOND;
    let time = start + Math.ceil((rest * NANOSECONDS_PER_SECOND) / this.hz);
    // At this size adding one nanosecond gives the same double, so the loop would never end
    if (time >= Number.MAX_SAFE_INTEGER) return time;
    // The quotient of doubles can be one off either way.
    while (this.ticksAt(time) < ticks) time++;
    while (time > 0 && this.ticksAt(time - 1) >= ticks) time--;
    return time;
  }
}

/** floor(rest * hz / 1e9) for rest below one second; no product passes 2^53 for hz up to 4 GHz. */
function floorDivide(rest: number, hz: number): number {
  const whole = Math.floor(rest);
  if (hz === NANOSECONDS_PER_SECOND) return whole;
  const microseconds = Math.floor(whole / 1000);
  const product = hz * microseconds;
  const ticks = Math.floor(product / 1_000_000);
  return (
    ticks +
    Math.floor(((product - ticks * 1_000_000) * 1000 + hz * (whole - microseconds * 1000)) / NANOSECONDS_PER_SECOND)
  );
}
