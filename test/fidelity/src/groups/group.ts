/** What a group of cases is, and the common kind: a table of forms. */
import type { Builder, Style } from '../builder.js';
import { form, type Form } from '../form.js';

export interface Group {
  readonly name: string;
  /** Modes its cases exist in. */
  readonly modes: 'both' | 64 | 32;
  readonly style: Style;
  /** Share of the cases; 1 by default. */
  readonly weight?: number;
  /** Adds the case's instructions to a builder that has been begun. */
  build(b: Builder): void;
}

export interface TableOptions {
  style?: Style;
  weight?: number;
  /** Most instructions a case may have; 1 by default. */
  sequence?: number;
  /** Prepares registers or control words before the instructions are chosen. */
  prepare?(b: Builder): void;
  /** No fault policies (guard pages...) in this group. */
  noFaults?: boolean;
}

/** Form tables by group name, for the groups that combine others. */
export const TABLES = new Map<string, readonly Form[]>();

export function table(name: string, texts: readonly string[], options: TableOptions = {}): Group {
  const all = texts.map(form);
  TABLES.set(name, all);
  const by = { 32: all.filter((f) => f.only !== 64), 64: all.filter((f) => f.only !== 32) };
  return {
    name,
    modes: by[32].length === 0 ? 64 : by[64].length === 0 ? 32 : 'both',
    style: options.style ?? 'integer',
    weight: options.weight ?? 1,
    build(b) {
      const { rng } = b;
      const forms = by[b.is32 ? 32 : 64];
      options.prepare?.(b);
      const longest = options.sequence ?? 1;
      const count = longest > 1 && rng.oneIn(3) ? rng.range(2, longest) : 1;
      b.multi = count > 1;
      if (count === 1 && !options.noFaults) {
        const r = rng.below(40);
        if (r === 0) b.policy = 'guard';
        else if (r === 1) b.policy = 'noncanonical';
        else if (r === 2) b.policy = 'misaligned';
      }
      for (let i = 0; i < count; i++) b.emit(rng.pick(forms));
    },
  };
}
