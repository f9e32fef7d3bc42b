/** Figures of repeated measurements. */
export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** (most - least) / median. */
  readonly spread: number;
  readonly samples: number;
}

export function summarise(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b),
    n = sorted.length;
  if (n === 0) return { median: NaN, least: NaN, most: NaN, spread: NaN, samples: 0 };
  const median = n % 2 === 1 ? sorted[(n - 1) / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  return { median, least: sorted[0], most: sorted[n - 1], spread: (sorted[n - 1] - sorted[0]) / median, samples: n };
}

export function geometricMean(values: readonly number[]): number {
  return values.length === 0 ? NaN : Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
