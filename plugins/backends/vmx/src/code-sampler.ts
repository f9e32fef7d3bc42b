/** Samples of what the guest runs: the processor comes back for each at an exact count of instructions, and goes on as if nothing had been. */
import { fail } from '@visorkit/core';
import type { Vcpu } from '@visorkit/core';
import { CodeStates } from '@visorkit/engine';
import type { Engine, WhyInterpreted } from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import type { CodeSample, CodeSampler } from '@visorkit/machine';

/** Nearer to one another, samples would be of the few hundred instructions before each, which are interpreted. */
const LEAST = 1000;

const REASONS: Readonly<Record<WhyInterpreted, string>> = {
  off: 'translation is off',
  instruction: 'left to the interpreter',
  crossing: 'crosses two pages',
  cold: 'has run too seldom yet',
  waiting: 'waits for a module to be full',
  written: 'its code was written, and has run too seldom since',
  emptied: 'decoded code was forgotten, and it has run too seldom since',
  evicted: 'there were too many regions, and it has run too seldom since',
  elsewhere: 'its region is for another TLB table',
  middle: 'entered where no region begins',
  stepped: 'something is due between instructions',
  failed: 'no room for its region',
  unmapped: 'not mapped any more',
};

export class VmxCodeSampler implements CodeSampler {
  readonly reasons = REASONS;
  /** Retired instructions at which the next sample is due. */
  next = Infinity;
  #every = 0;
  #taken: ((sample: CodeSample, vcpu: Vcpu) => void) | undefined;
  readonly #states: CodeStates;

  constructor(private readonly engine: Engine) {
    this.#states = new CodeStates(engine);
  }

  start(every: number, taken: (sample: CodeSample, vcpu: Vcpu) => void): () => void {
    if (!Number.isSafeInteger(every) || every < LEAST)
      fail(
        'CODE_SAMPLES',
        `Samples are taken every ${LEAST} instructions or more, a whole number, not every ${every}.`,
        {
          every,
        },
      );
    if (this.#taken !== undefined)
      fail('CODE_SAMPLES', 'Samples of this VM are taken already; one profile at a time is right.');
    this.#every = every;
    this.#taken = taken;
    this.next = this.engine.retired + every;
    return () => {
      if (this.#taken !== taken) return;
      this.#taken = undefined;
      this.next = Infinity;
    };
  }

  /** Before each entry while samples are taken. */
  entering(): void {
    this.#states.entering();
  }

  /** The processor has come back at a deadline: takes the sample, if that was its. False: it was not. */
  take(vcpu: Vcpu): boolean {
    const { engine } = this,
      { retired } = engine;
    if (retired < this.next || engine.words[layout.ACTIVITY >>> 2] !== 0) return false;
    const late = retired - this.next;
    this.next = retired + this.#every;
    // The count has been moved, as restoring a VM does
    if (late < this.#every) this.#taken?.(this.#states.look(), vcpu);
    return true;
  }
}
