// Reads the log of a data folder without changing a byte, for checks and dumps: also while a broker uses it.

import { join } from 'node:path';
import { fromBinary, toJson } from '@bufbuild/protobuf';
import { createRegistry } from '@bufbuild/protobuf';
import { StateRecordSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { StoredMessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Disk, TernError } from '@ternmq/runtime';
