"""The official client of RocketMQ 5 for Python, driven by commands: one JSON object a line in, one out.

See ../official-client.ts for what they are.
"""

import json
import sys
import threading
import time

from rocketmq import (
    ClientConfiguration,
    ConsumeResult,
    Credentials,
    FilterExpression,
    Message,
    MessageListener,
    Producer,
    PushConsumer,
    SimpleConsumer,
    TransactionChecker,
    TransactionResolution,
)
from rocketmq.grpc_protocol import FilterType

OUT = sys.stdout
# The client may write what it likes; answers alone go out.
sys.stdout = sys.stderr


def config():
    keys = sys.argv[2:4]
    credentials = Credentials(*keys) if len(keys) == 2 else Credentials()
    return ClientConfiguration(sys.argv[1], credentials)


def expression(given):
    kind = FilterType.SQL if given["type"] == "sql" else FilterType.TAG
    return FilterExpression(given["expression"], kind)


def told(message):
    return {
        "messageId": message.message_id,
        "body": message.body.decode(),
        "tag": message.tag or "",
        "keys": list(message.keys or []),
        "properties": dict(message.properties or {}),
        "messageGroup": message.message_group or "",
        "attempt": message.delivery_attempt or 0,
    }


class Checker(TransactionChecker):
    def __init__(self, answer):
        self.answer = answer

    def check(self, message):
        return getattr(TransactionResolution, self.answer.upper())


class Listener(MessageListener):
    def __init__(self):
        self.lock = threading.Lock()
        self.messages = []

    def consume(self, message):
        failed = message.body.startswith(b"fail")
        with self.lock:
            self.messages.append({**told(message), "failed": failed})
        return ConsumeResult.FAILURE if failed else ConsumeResult.SUCCESS


class Client:
    def __init__(self):
        self.clients = []
        self.listener = Listener()
        self.received = {}

    def started(self, client):
        client.startup()
        self.clients.append(client)
        return client

    def producer(self, command):
        answer = command.get("checker")
        checker = Checker(answer) if answer else None
        self.producing = self.started(Producer(config(), tuple(command["topics"]), checker))

    def send(self, command):
        message = Message()
        message.topic = command["topic"]
        message.body = command["body"].encode()
        if command.get("tag"):
            message.tag = command["tag"]
        if command.get("keys"):
            Message.keys.fset(message, *command["keys"])
        for name, value in command.get("properties", {}).items():
            message.add_property(name, value)
        if command.get("messageGroup"):
            message.message_group = command["messageGroup"]
        if command.get("delayMs"):
            message.delivery_timestamp = int(time.time() + command["delayMs"] / 1000)
        how = command.get("transaction")
        if not how:
            receipt = self.producing.send(message)
            return {"messageId": receipt.message_id, "recallHandle": receipt.recall_handle or ""}
        transaction = self.producing.begin_transaction()
        receipt = self.producing.send(message, transaction)
        if how == "commit":
            transaction.commit()
        elif how == "rollback":
            transaction.rollback()
        return {"messageId": receipt.message_id, "recallHandle": ""}

    def recall(self, command):
        receipt = self.producing.recall_message(command["topic"], command["recallHandle"])
        return {"messageId": getattr(receipt, "message_id", receipt)}

    def simple(self, command):
        subscription = {command["topic"]: expression(command["filter"])}
        await_s = max(1, command["awaitMs"] // 1000)
        consumer = SimpleConsumer(config(), command["group"], subscription, await_s)
        self.simply = self.started(consumer)

    def receive(self, command):
        messages = self.simply.receive(command["max"], command["invisibleMs"] // 1000) or []
        answer = []
        for message in messages:
            handle = len(self.received) + 1
            self.received[handle] = message
            answer.append({**told(message), "handle": handle})
        return {"messages": answer}

    def ack(self, command):
        self.simply.ack(self.received[command["handle"]])

    def change(self, command):
        message = self.received[command["handle"]]
        self.simply.change_invisible_duration(message, command["invisibleMs"] // 1000)

    def push(self, command):
        subscription = {command["topic"]: expression(command["filter"])}
        self.started(PushConsumer(config(), command["group"], self.listener, subscription))

    def pushed(self, command):
        until = time.monotonic() + command["withinMs"] / 1000
        while len(self.listener.messages) < command["count"] and time.monotonic() < until:
            time.sleep(0.02)
        with self.listener.lock:
            return {"messages": list(self.listener.messages)}

    def close(self, command):
        for client in self.clients:
            client.shutdown()


def main():
    client = Client()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"ok": True, **(getattr(client, command["do"])(command) or {})}
        except Exception as error:  # whatever it is, the test is told
            code = getattr(error, "code", 0)
            answer = {"ok": False, "code": code if isinstance(code, int) else 0, "error": repr(error)}
        OUT.write(json.dumps(answer) + "\n")
        OUT.flush()
        if command["do"] == "close":
            break


main()
