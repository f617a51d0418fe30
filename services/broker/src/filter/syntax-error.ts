// The one error of this folder: a filter expression that is not one.

/** A filter expression is wrong; whoever wrote it can mend it. */
export class FilterSyntaxError extends Error {
  /**
   * Index of the first wrong character in the expression, from 0, as JavaScript counts them (UTF-16 code units);
   * the expression's length when something is missing at its end.
   */
  readonly position: number;
  /** What was expected there and what was found: a sentence without its full stop. */
  readonly reason: string;

  constructor(position: number, reason: string) {
    super(`The filter expression is wrong at character ${position}: ${reason}.`);
    this.name = 'FilterSyntaxError';
    this.position = position;
    this.reason = reason;
  }
}
