// What may be called how. The rules are RocketMQ's.

const NAME = /^[%|a-zA-Z0-9_-]{1,127}$/;

/** May a topic or a group have this name? */
export function isTopicName(name: string): boolean {
  return NAME.test(name);
}

/** The dead-letter topic of a group. */
export function deadLetterTopic(group: string): string {
  return `%DLQ%${group}`;
}
