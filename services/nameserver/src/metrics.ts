import { BrokerState } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import type { Registry } from '@ternmq/runtime';
import type { WatchRoutes } from './grpc/watch-routes.ts';
import type { RouteTable } from './routes/route-table.ts';

/** Adds what a name server knows to the metrics of its process. */
export function registerMetrics(registry: Registry, routes: RouteTable, watch: WatchRoutes): void {
  registry.gauge('ternmq_nameserver_brokers', 'Brokers that are known', ['state'], (show) => {
    const members = routes.members();
    const live = members.filter(({ broker }) => broker.state === BrokerState.LIVE).length;
    show(live, { state: 'live' });
    show(members.length - live, { state: 'suspect' });
  });
  registry.gauge('ternmq_nameserver_topics', 'Topics that brokers serve', [], (show) =>
    show(routes.topicCount),
  );
  registry.gauge('ternmq_nameserver_watchers', 'Clients that watch routes', [], (show) =>
    show(watch.size),
  );
}
