// What happens to a client, for logs and for those who want to act on it.

/** Something that happened. */
export type ClientEvent =
  | { readonly type: 'connected'; readonly address: string }
  | { readonly type: 'disconnected'; readonly address: string; readonly error?: Error }
  | { readonly type: 'routeChanged'; readonly topic: string; readonly queues: number }
  | { readonly type: 'waiting'; readonly topic: string; readonly reason: string }
  | { readonly type: 'sendFailed'; readonly topic: string; readonly error: Error }
  | { readonly type: 'settleFailed'; readonly topic: string; readonly error: Error }
  | { readonly type: 'commitFailed'; readonly topic: string; readonly error: Error }
  | { readonly type: 'handlerFailed'; readonly topic: string; readonly error: unknown };

/** Told of events. What it throws is ignored. */
export type EventListener = (event: ClientEvent) => void;

/** Tells listeners of events. */
export class Events {
  readonly #listeners = new Set<EventListener>();

  /** Adds a listener; the returned function removes it. */
  listen(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells all listeners. */
  emit(event: ClientEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        // A listener's fault must not stop messages.
      }
    }
  }
}
