/** The states of a VM and the moves between them. An illegal move is an error that says the state and the move. */
import { fail } from './errors.js';

/** A run that has ended, however it ended, leaves the VM paused. */
export type VmmState = 'composed' | 'created' | 'loaded' | 'running' | 'paused' | 'disposed';
export type VmmMove = 'create' | 'load' | 'run' | 'pause' | 'stop' | 'save' | 'restore' | 'dispose';

/** From which states a move is legal, and where it leads. */
const MOVES: Record<VmmMove, { readonly from: readonly VmmState[]; readonly to: VmmState }> = {
  create: { from: ['composed'], to: 'created' },
  load: { from: ['created'], to: 'loaded' },
  run: { from: ['loaded', 'paused'], to: 'running' },
  pause: { from: ['running'], to: 'paused' },
  stop: { from: ['running'], to: 'paused' },
  save: { from: ['loaded', 'paused'], to: 'paused' }, // only checked: saving changes nothing
  restore: { from: ['created'], to: 'paused' },
  dispose: { from: ['composed', 'created', 'loaded', 'running', 'paused'], to: 'disposed' },
};

export class Lifecycle {
  #state: VmmState = 'composed';
  /** A move that takes time and has not ended. */
  #under: VmmMove | undefined;

  get state(): VmmState {
    return this.#state;
  }

  /** Throws `LIFECYCLE_MOVE` unless the move is legal now. */
  check(move: VmmMove): void {
    if (this.#under !== undefined && move !== 'dispose') {
      fail('LIFECYCLE_MOVE', `Cannot ${move} a VM while it is still busy with ${this.#under}; await that first.`, {
        state: this.#state,
        move,
      });
    }
    const { from } = MOVES[move];
    if (!from.includes(this.#state)) {
      fail(
        'LIFECYCLE_MOVE',
        `Cannot ${move} a VM that is ${this.#state}; ${move} is for one that is ${from.join(', ').replace(/, ([^,]*)$/, ' or $1')}.`,
        { state: this.#state, move },
      );
    }
  }

  /** Checks and makes the move. */
  move(move: VmmMove): void {
    this.check(move);
    this.#state = MOVES[move].to;
  }

  /** Makes a move that takes time: the state changes when `work` has succeeded. */
  async moveAfter(move: VmmMove, work: () => Promise<void>): Promise<void> {
    this.check(move);
    this.#under = move;
    try {
      await work();
      if (this.#state !== 'disposed') this.#state = MOVES[move].to;
    } finally {
      this.#under = undefined;
    }
  }
}
