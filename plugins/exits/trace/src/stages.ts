/** Where the taps of a trace stand in a hook: before all handlers, and behind them. */
export const FIRST = { stage: -1_000_000 };
export const LAST = { stage: 1_000_000 };
