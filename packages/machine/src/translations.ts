/** What a backend has translated guest code to, from one run to the next. */
import { token } from '@visorkit/core';
import type { Token } from '@visorkit/core';

/** Translated code of one VM. */
export interface Translations {
  /**
   * From now on what is translated is kept. `earlier` is what {@link kept} gave at the end of an earlier run, of any guest: where the guest's code is the same, its translation is
   * used as soon as it runs; what the guest does is not changed by it. Whoever stores it sees to it that it comes back whole. To be called before the guest runs, from
   * `apply`. Returns whether `earlier` could be used: not where it is of another version or another processor.
   */
  keep(earlier?: Uint8Array): boolean;
  /** What a later run may be given, `earlier` included as far as it is still of use; undefined where there is nothing new, and where nothing is kept: code is only interpreted, or verified. */
  kept(): Uint8Array | undefined;
}

/** Only on backends that translate code themselves. */
export const TranslationsToken: Token<Translations> = token('translations', '@visorkit/backend-vmx');
