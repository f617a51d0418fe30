import { create } from '@bufbuild/protobuf';
import {
  type QueryRouteRequest,
  type QueryRouteResponse,
  QueryRouteResponseSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { TernError, unary } from '@ternmq/runtime';
import { checkTopicName } from '../routes/registration-check.ts';
import type { RouteTable } from '../routes/route-table.ts';

/** After which time to ask a name server again that is warming up; brokers come back within a second. */
const RETRY_MS = 500;

/** Answers where a topic is. */
export function queryRoute(routes: RouteTable, warmingUp: () => boolean) {
  return unary(({ topic }: QueryRouteRequest): QueryRouteResponse => {
    checkTopicName(topic, 'topic');
    const route = routes.route(topic);
    if (route.groups.length > 0) return create(QueryRouteResponseSchema, { route });
    if (warmingUp()) {
      throw new TernError(
        'UNAVAILABLE',
        'WARMING_UP',
        `This name server has just started and may not know all brokers yet; ask again, or ask another one, for topic ${topic}.`,
        { metadata: { topic }, retryAfterMs: RETRY_MS },
      );
    }
    throw new TernError(
      'NOT_FOUND',
      'TOPIC_NOT_FOUND',
      `There is no topic ${topic}. Create it with: tern topic create ${topic}`,
      { metadata: { topic } },
    );
  });
}
