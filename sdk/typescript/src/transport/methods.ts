// The methods that the SDK calls.

import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { NameServerService } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';

/** Methods of a broker. */
export const broker = BrokerService.method;
/** Methods of a name server. */
export const nameserver = NameServerService.method;
