// The few statistics that a benchmark prints.

/** Median, minimum and maximum of some figures. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The spread of figures; at least one. */
export function spreadOf(figures: readonly number[]): Spread {
  const sorted = figures.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  const lower = sorted.length % 2 === 0 ? (sorted[middle - 1] ?? upper) : upper;
  return { median: (lower + upper) / 2, min: sorted[0] ?? upper, max: sorted.at(-1) ?? upper };
}

/** A spread as text, rounded to what its size deserves. */
export function showSpread({ median, min, max }: Spread): string {
  const show = (figure: number): string =>
    figure >= 100 ? Math.round(figure).toLocaleString('en') : figure.toFixed(2);
  return `${show(median)} (${show(min)} to ${show(max)})`;
}
