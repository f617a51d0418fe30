// Telemetry: the stream that every client opens to every server it talks to. Settings are answered each time they come;
// commands go the other way. Its end ends nothing but itself.

import { Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import { Code, type Settings } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import type { TelemetryCommand } from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { type Clock, failStream, TernError, type Timer } from '@ternmq/runtime';
import type { GroupSettings } from '../state/groups.ts';
import { type Caller, callerOf } from './caller.ts';
import type { ClientStream, Clients } from './clients.ts';
import { nameOf } from './resource.ts';
import { answerSettings, needsSecondAnswer } from './settings.ts';
import { failureStatus, okStatus, Refused } from './status.ts';

type Stream = ServerDuplexStream<TelemetryCommand, TelemetryCommand>;

const SECOND_ANSWER_MS = 1000;

/** What the RPC uses. */
export interface TelemetryModules {
  readonly clients: Clients;
  /** How a group behaves; as a new one when it is not known. */
  readonly groupSettings: (name: string) => GroupSettings;
  readonly clock: Clock;
  /** Aborts when the server stops. */
  readonly closing: AbortSignal;
}

/** The RPC. */
export function telemetry(modules: TelemetryModules): (call: Stream) => void {
  return (call) => {
    // Rust waits for them before it goes on.
    call.sendMetadata(new Metadata());
    let caller: Caller;
    try {
      const facts = { metadata: call.metadata, peer: call.getPeer() };
      const signal = new AbortController().signal;
      caller = callerOf({ ...facts, deadlineMs: Number.POSITIVE_INFINITY, signal });
    } catch (error) {
      call.write(commandOf({ status: failureStatus(error) }));
      call.end();
      return;
    }
    new TelemetryStream(call, caller, modules);
  };
}

class TelemetryStream implements ClientStream {
  readonly #call: Stream;
  readonly #caller: Caller;
  readonly #modules: TelemetryModules;
  readonly #stop = (): void => this.#end();
  #secondAnswer: Timer | undefined;
  #clogged = false;
  #ended = false;

  constructor(call: Stream, caller: Caller, modules: TelemetryModules) {
    this.#call = call;
    this.#caller = caller;
    this.#modules = modules;
    const { closing } = modules;
    call.on('data', (command: TelemetryCommand) => this.#take(command));
    call.on('drain', () => {
      this.#clogged = false;
    });
    // A late error after a client's shutdown is an uncaught exception in Node's: the end is answered at once.
    call.on('end', this.#stop);
    call.on('cancelled', () => this.#gone());
    call.on('error', () => this.#gone());
    call.on('close', () => this.#gone());
    if (closing.aborted) this.#end();
    else closing.addEventListener('abort', this.#stop, { once: true });
  }

  send(command: TelemetryCommand): boolean {
    if (this.#ended || this.#clogged) return false;
    this.#clogged = !this.#call.write(command);
    return true;
  }

  #take(command: TelemetryCommand): void {
    this.#modules.clients.heard(this.#caller.clientId);
    // Whatever else comes is left alone.
    if (command.command.case === 'settings') this.#settings(command.command.value);
  }

  #settings(said: Settings): void {
    const { clients, groupSettings, clock } = this.#modules;
    const { clientId, namespace } = this.#caller;
    let settings: Settings;
    try {
      const group = said.pubSub.case === 'subscription' ? said.pubSub.value.group : undefined;
      settings = answerSettings(said, groupSettings(nameOf(group, namespace)));
      clients.put(clientId, said, namespace, this);
    } catch (error) {
      this.#refuse(error);
      return;
    }
    const answer = commandOf({
      status: okStatus(),
      command: { case: 'settings', value: settings },
    });
    this.send(answer);
    if (!needsSecondAnswer(said) || this.#secondAnswer !== undefined) return;
    this.#secondAnswer = clock.setTimer(SECOND_ANSWER_MS, () => this.send(answer));
  }

  #refuse(error: unknown): void {
    if (!(error instanceof Refused) && !(error instanceof TernError)) {
      failStream(this.#call, error);
      return;
    }
    if (error instanceof Refused && error.code === Code.BAD_REQUEST) {
      failStream(this.#call, new TernError('INVALID_ARGUMENT', 'INVALID_SETTINGS', error.message));
      return;
    }
    this.send(commandOf({ status: failureStatus(error) }));
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#gone();
    this.#call.end();
  }

  #gone(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#secondAnswer?.cancel();
    this.#modules.closing.removeEventListener('abort', this.#stop);
    this.#modules.clients.streamEnded(this.#caller.clientId, this);
  }
}

/** A command; without content when there is none. */
export function commandOf(
  init: Partial<Pick<TelemetryCommand, 'status' | 'command'>>,
): TelemetryCommand {
  return {
    $typeName: 'apache.rocketmq.v2.TelemetryCommand',
    command: { case: undefined },
    ...init,
  };
}
