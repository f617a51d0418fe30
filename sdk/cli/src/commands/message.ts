// `tern message`: single messages, and files of them.

import type { Command } from 'commander';
import { addGet } from './message/get.ts';
import { addQuery } from './message/query.ts';
import { addRecall } from './message/recall.ts';
import { addReply, addRequest } from './message/request.ts';
import { addSend } from './message/send.ts';
import { addTail } from './message/tail.ts';
import { addTrace } from './message/trace.ts';

/** Completes the command. */
export function messageCommand(command: Command): void {
  addSend(command);
  addRequest(command);
  addReply(command);
  addGet(command);
  addQuery(command);
  addTrace(command);
  addTail(command);
  addRecall(command);
}
