// What the broker offers to the command that runs it.

export { Broker, type BrokerModules } from './broker.ts';
export { BROKER_OPTIONS, type BrokerOptions } from './config.ts';
export { checkLog, type DumpedRecord, dumpLog, type LogCheck } from './inspect-log.ts';
