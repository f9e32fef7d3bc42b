/** What a guest runs, looked at every so many instructions, for profiles. */
import { token } from '@visorkit/core';
import type { Token, Vcpu } from '@visorkit/core';

/** A look at a vCPU between two instructions. */
export interface CodeSample {
  /** Default size of the code. */
  readonly bits: 16 | 32 | 64;
  /** Linear address of the instruction that comes next, and of the piece of code that the backend handles as one and that has it. */
  readonly address: bigint;
  readonly start: bigint;
  /** Where that piece begins in the memory of the host: it tells pieces from one another. 0 where it cannot be found any more. */
  readonly host: number;
  /** Why the piece does not run translated to code of the host, in the backend's own words; undefined: it does. */
  readonly why: string | undefined;
  /** How often the piece has been interpreted, where that is counted. */
  readonly executions: number;
  /** The instruction for which it is not translated, where that is the reason: its linear address, and bytes from there on. */
  readonly blamed: { readonly address: bigint; readonly bytes: Uint8Array } | undefined;
}

/** Whoever takes samples of a VM. */
export interface CodeSampler {
  /** Sentences for each `why` that samples may have. */
  readonly reasons: Readonly<Record<string, string>>;
  /**
   * Calls `taken` after every `every` retired instructions (at least 1000; other vCPUs' count too) until the function that it returns is called. The guest does not notice, in virtual
   * time to the instruction. `taken` must only look: it is called while the vCPU runs. Throws `CODE_SAMPLES` for a number that is not right, or
   * where samples are taken already.
   */
  start(every: number, taken: (sample: CodeSample, vcpu: Vcpu) => void): () => void;
}

/** Only on backends with the capability `code-samples`. */
export const CodeSamplerToken: Token<CodeSampler> = token('code-sampler', '@visorkit/backend-vmx');
