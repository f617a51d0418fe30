// Takes a delayed message back.

import { MqError } from './errors.ts';
import { mayKeep } from './message-id.ts';
import type { Routes } from './routes.ts';
import type { CallLimits } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import { broker } from './transport/methods.ts';

/** Recalls a delayed message at the broker that keeps it. Throws NOT_DELAYED, NOT_WAITING, NO_BROKER. */
export async function recallMessage(
  messageId: string,
  modules: { routes: Routes; channels: Channels },
  options: CallLimits,
): Promise<void> {
  const brokers = await modules.routes.brokers(options);
  const masters = brokers.filter(({ master }) => master);
  const keepers = masters.filter(({ name }) => mayKeep(name, messageId));
  // An id that no broker's name fits is given to any of them, for its sentence.
  const [keeper] = keepers.length > 0 ? keepers : masters;
  if (keeper === undefined) {
    throw new MqError('NO_BROKER', 'no broker is registered with the name server; start one', {
      retryable: true,
    });
  }
  await modules.channels.get(keeper.address).unary(broker.recallMessage, { messageId }, options);
}
