// FindMessages: messages of a topic by key and time.

import { create, toBinary } from '@bufbuild/protobuf';
import {
  type FindMessagesRequest,
  FindMessagesResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { MessageSearch, SearchCursor } from '../find/message-search.ts';
import { RowReader, RowWriter } from '../progress/row-bytes.ts';
import type { Topic } from '../state/topics.ts';
import { inRange } from './bounds.ts';
import { KEY_BYTES_MAX } from './frame-scanner.ts';
import { findQueue } from './pull.ts';

const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;

/** The RPC; answers bytes. */
export function findMessages(modules: {
  topics: TopicCatalog;
  search: MessageSearch;
}): (request: FindMessagesRequest) => Promise<Buffer> {
  const { topics, search } = modules;
  return async (request) => {
    const { queueId, pageToken } = request;
    const topic = topics.get(request.topic);
    const queues =
      queueId === undefined ? topic.queues : [findQueue(topics, topic.name, queueId).queue];
    const key = Buffer.from(request.key);
    if (key.length > KEY_BYTES_MAX) throw invalid('key', `has at most ${KEY_BYTES_MAX} bytes`);
    const choice = {
      key: key.length === 0 ? undefined : key,
      fromMs: Number(request.fromMs),
      toMs: request.toMs === 0n ? Infinity : Number(request.toMs),
      messagesMax: inRange('page_size', request.pageSize, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
    };
    const cursors =
      pageToken === '' ? await search.begin(queues, choice) : readToken(pageToken, topic);
    const { records, left } = await search.next(cursors, choice);
    // Records are the response's messages as they lie in the log.
    const nextPageToken = left === undefined ? '' : writeToken(left, topic);
    const rest = toBinary(
      FindMessagesResponseSchema,
      create(FindMessagesResponseSchema, { nextPageToken }),
    );
    return Buffer.concat([...records, rest]);
  };
}

/** Topic number, and then queue, floor and end of each cursor that has not come to its floor. */
function writeToken(cursors: readonly SearchCursor[], topic: Topic): string {
  const row = new RowWriter();
  row.number(topic.id);
  for (const { queue, floor, end } of cursors) {
    if (end <= floor) continue;
    row.number(queue.queueId);
    row.number(floor);
    row.number(end);
  }
  return row.finish().toString('base64url');
}

function readToken(token: string, topic: Topic): SearchCursor[] {
  const row = new RowReader(Buffer.from(token, 'base64url'));
  const cursors: SearchCursor[] = [];
  try {
    if (row.number() !== topic.id) throw wrongToken();
    while (!row.ended) {
      const queue = topic.queues[row.number()];
      const floor = row.number();
      const end = row.number();
      if (queue === undefined || end > queue.visibleEnd) throw wrongToken();
      cursors.push({ queue, floor, end });
    }
  } catch (error) {
    if (error instanceof TernError && error.code === 'DATA_LOSS') throw wrongToken();
    throw error;
  }
  return cursors;
}

function wrongToken(): TernError {
  return invalid('page_token', 'is none that this search has answered; begin without one');
}

function invalid(field: string, description: string): TernError {
  return new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field} ${description}`, {
    fields: [{ field, description }],
  });
}
