// Names that the processes of a test of all kinds of messages have in common.

/** Kinds of messages that are judged by a checker of their own. */
export type Kind = 'delayed' | 'transactions' | 'ordered';

/** The topic of each kind, which is also the name of the group that reads it. */
export const KIND_TOPICS: Readonly<Record<Kind, string>> = {
  delayed: 'crash-delayed',
  transactions: 'crash-transactions',
  ordered: 'crash-ordered',
};

/** The file of a kind's ledger. */
export function ledgerOf(kind: Kind, role: 'send' | 'consume'): string {
  return `${kind}-${role}`;
}

/** What an event is counted as in the load of its kind: `delayed recalled`, `transactions ended by commit`. */
export function countedAs(kind: Kind, event: { kind: string; outcome?: string }): string {
  return event.kind === 'ended' ? `${kind} ended by ${event.outcome}` : `${kind} ${event.kind}`;
}
