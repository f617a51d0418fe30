// What a checker found, for tests and for people.

const EXAMPLES_MAX = 20;

/** All faults of one kind. */
export interface Finding {
  count: number;
  /** The first 20. */
  readonly first: string[];
}

/** What a check found. */
export interface Report<Kind extends string> {
  readonly faults: Readonly<Record<Kind, Finding>>;
  /** What the history was made of. */
  readonly counts: Readonly<Record<string, number>>;
  /** What was done to the system, and when. */
  readonly timeline: readonly string[];
}

/** Collects faults. */
export class Findings<Kind extends string> {
  readonly byKind: Record<Kind, Finding>;

  /** @param kinds every kind of fault that can be found */
  constructor(kinds: readonly Kind[]) {
    const none = kinds.map((kind): [Kind, Finding] => [kind, { count: 0, first: [] }]);
    this.byKind = Object.fromEntries(none) as Record<Kind, Finding>;
  }

  add(kind: Kind, what: string): void {
    const finding = this.byKind[kind];
    finding.count++;
    if (finding.first.length < EXAMPLES_MAX) finding.first.push(what);
  }
}

/** Which kinds of faults were found. */
export function faultsFound<Kind extends string>(report: Report<Kind>): Kind[] {
  return Object.entries<Finding>(report.faults)
    .filter(([, finding]) => finding.count > 0)
    .map(([kind]) => kind as Kind);
}

/** The report for people; says "no faults" when there are none. */
export function formatReport<Kind extends string>(report: Report<Kind>): string {
  const faults = Object.entries<Finding>(report.faults)
    .filter(([, finding]) => finding.count > 0)
    .map(([kind, finding]) => {
      const more = finding.count > finding.first.length ? ['…'] : [];
      return [`${kind}: ${finding.count}`, ...finding.first, ...more].join('\n  ');
    });
  const counts = Object.entries(report.counts).map(([kind, count]) => `${count} ${kind}`);
  return [
    faults.length === 0 ? 'no faults' : faults.join('\n'),
    counts.join(', '),
    ...report.timeline,
  ].join('\n');
}
