"""Produces to and consumes from a broker with generated stubs: client.py HOST:PORT TOPIC.

Sends three messages with Send and a hundred on a Produce stream, then reads everything that is in the
topic twice: with Receive and Settle for one group, on a Subscribe stream for another. Prints one JSON
object: the ids and places of what it sent, and the bodies that each group got.
"""

import json
import queue
import sys

import grpc
from ternmq.broker.v1 import broker_pb2, broker_pb2_grpc
from ternmq.message.v1 import message_pb2

CALL_SECONDS_MAX = 30
FROM_BEGIN = message_pb2.OffsetTarget(begin=message_pb2.OffsetTarget.Begin())


def message(body: str) -> message_pb2.Message:
    return message_pb2.Message(
        body=body.encode(),
        tag="python",
        keys=[f"key {body}"],
        properties={"language": "Python", "grüße": "你好"},
        ordering_key="one",
    )


def send(broker, topic: str) -> list[dict]:
    messages = [message(f"python unary {i}") for i in range(3)]
    request = broker_pb2.SendRequest(topic=topic, messages=messages)
    receipts = broker.Send(request, timeout=CALL_SECONDS_MAX).receipts
    return [
        {"messageId": r.message_id, "queueId": r.queue_id, "offset": r.offset} for r in receipts
    ]


def produce(broker, topic: str) -> list[dict]:
    frames = [
        broker_pb2.ProduceRequest(
            topic=topic,
            frame_id=frame,
            messages=[message(f"python stream {frame * 10 + i}") for i in range(10)],
        )
        for frame in range(10)
    ]
    outcomes = []
    for response in broker.Produce(iter(frames), timeout=CALL_SECONDS_MAX):
        outcomes.extend(response.outcomes)
    refused = [f"{o.reason}: {o.message}" for o in outcomes if o.reason]
    if refused:
        raise RuntimeError(f"frames were refused: {refused}")
    return [
        {"frameId": o.frame_id, "queueId": o.queue_id, "offset": o.base_offset} for o in outcomes
    ]


def settlement(lease: message_pb2.Lease) -> message_pb2.Settlement:
    return message_pb2.Settlement(
        topic_id=lease.topic_id,
        queue_id=lease.queue_id,
        first_offset=lease.first_offset,
        end_offset=lease.end_offset,
        lease_id=lease.lease_id,
        action=message_pb2.Settlement.ACTION_ACKNOWLEDGE,
    )


def receive(broker, topic: str) -> list[str]:
    bodies = []
    subscription = broker_pb2.Subscription(topic=topic)
    getattr(subscription, "from").CopyFrom(FROM_BEGIN)
    request = broker_pb2.ReceiveRequest(
        group="python-unary", subscription=subscription, messages_max=32, wait_ms=1000
    )
    while True:
        response = broker.Receive(request, timeout=CALL_SECONDS_MAX)
        if not response.messages:
            return bodies
        bodies.extend(m.message.body.decode() for m in response.messages)
        settle = broker_pb2.SettleRequest(
            group="python-unary", settlements=[settlement(lease) for lease in response.leases]
        )
        failures = broker.Settle(settle, timeout=CALL_SECONDS_MAX).failures
        if failures:
            raise RuntimeError(f"settlements failed: {failures}")


def subscribe(broker, topic: str, count: int) -> list[str]:
    subscription = broker_pb2.Subscription(topic=topic)
    getattr(subscription, "from").CopyFrom(FROM_BEGIN)
    requests: queue.SimpleQueue = queue.SimpleQueue()
    requests.put(
        broker_pb2.SubscribeRequest(
            open=broker_pb2.SubscriptionOpening(
                group="python-stream",
                consumer_id="python",
                mode=broker_pb2.SUBSCRIPTION_MODE_CLUSTERING,
                subscriptions=[subscription],
            ),
            credit_messages=32,
            credit_bytes=1 << 20,
        )
    )
    bodies = []
    # `None` ends the stream of requests, and with it the subscription.
    for response in broker.Subscribe(iter(requests.get, None), timeout=CALL_SECONDS_MAX):
        if response.failures:
            raise RuntimeError(f"settlements failed: {response.failures}")
        bodies.extend(m.message.body.decode() for m in response.messages)
        if response.messages:
            requests.put(
                broker_pb2.SubscribeRequest(
                    credit_messages=len(response.messages),
                    credit_bytes=sum(m.ByteSize() for m in response.messages),
                    settlements=[settlement(lease) for lease in response.leases],
                )
            )
        if len(bodies) >= count:
            requests.put(None)
    return bodies


def main() -> None:
    address, topic = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        broker = broker_pb2_grpc.BrokerServiceStub(channel)
        sent = send(broker, topic)
        produced = produce(broker, topic)
        received = receive(broker, topic)
        pushed = subscribe(broker, topic, len(received))
    print(json.dumps({"sent": sent, "produced": produced, "received": received, "pushed": pushed}))


if __name__ == "__main__":
    main()
