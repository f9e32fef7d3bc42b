/** Samples in a few numbers. */
export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly samples: number;
}

export function summarise(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b),
    half = sorted.length >>> 1;
  return {
    median: sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2,
    least: sorted[0],
    most: sorted[sorted.length - 1],
    samples: sorted.length,
  };
}
