// Addresses as clients of RocketMQ 5 write them.

import { isIPv4, isIPv6 } from 'node:net';
import {
  AddressScheme,
  Code,
  type Endpoints,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { parseAddress } from '@ternmq/runtime';
import { Refused } from './status.ts';

/** The endpoints of one address, `host:port`; undefined when it is none. */
export function endpointsOf(text: string): Endpoints | undefined {
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  const { host, port } = address;
  return {
    $typeName: 'apache.rocketmq.v2.Endpoints',
    scheme: schemeOf(host),
    addresses: [{ $typeName: 'apache.rocketmq.v2.Address', host, port }],
  };
}

/** What a client has dialled. Throws Refused (ILLEGAL_ACCESS_POINT). */
export function checkedEndpoints(endpoints: Endpoints | undefined): Endpoints {
  const [first] = endpoints?.addresses ?? [];
  if (endpoints === undefined || first === undefined || first.host === '') {
    throw new Refused(
      Code.ILLEGAL_ACCESS_POINT,
      'say in `endpoints` which address this server was reached at',
    );
  }
  if (endpoints.scheme !== AddressScheme.ADDRESS_SCHEME_UNSPECIFIED) return endpoints;
  return { ...endpoints, scheme: schemeOf(first.host) };
}

function schemeOf(host: string): AddressScheme {
  if (isIPv4(host)) return AddressScheme.IPv4;
  return isIPv6(host) ? AddressScheme.IPv6 : AddressScheme.DOMAIN_NAME;
}
