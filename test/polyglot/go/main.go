// Produces to and consumes from a broker with generated stubs: client HOST:PORT TOPIC.
//
// Sends three messages with Send and a hundred on a Produce stream, then reads everything that is in the
// topic twice: with Receive and Settle for one group, on a Subscribe stream for another. Prints one JSON
// object: the ids and places of what it sent, and the bodies that each group got.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	brokerv1 "ternmq.dev/proto/ternmq/broker/v1"
	messagev1 "ternmq.dev/proto/ternmq/message/v1"
)

const runMax = 60 * time.Second

type sent struct {
	MessageID string `json:"messageId"`
	QueueID   uint32 `json:"queueId"`
	Offset    uint64 `json:"offset"`
}

type produced struct {
	FrameID uint32 `json:"frameId"`
	QueueID uint32 `json:"queueId"`
	Offset  uint64 `json:"offset"`
}

type result struct {
	Sent     []sent     `json:"sent"`
	Produced []produced `json:"produced"`
	Received []string   `json:"received"`
	Pushed   []string   `json:"pushed"`
}

func message(body string) *messagev1.Message {
	return &messagev1.Message{
		Body:        []byte(body),
		Tag:         "go",
		Keys:        []string{"key " + body},
		Properties:  map[string]string{"language": "Go", "grüße": "你好"},
		OrderingKey: "one",
	}
}

func send(ctx context.Context, broker brokerv1.BrokerServiceClient, topic string) ([]sent, error) {
	request := &brokerv1.SendRequest{Topic: topic}
	for i := range 3 {
		request.Messages = append(request.Messages, message(fmt.Sprintf("go unary %d", i)))
	}
	response, err := broker.Send(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	var all []sent
	for _, receipt := range response.GetReceipts() {
		all = append(all, sent{receipt.GetMessageId(), receipt.GetQueueId(), receipt.GetOffset()})
	}
	return all, nil
}

func produce(ctx context.Context, broker brokerv1.BrokerServiceClient, topic string) ([]produced, error) {
	stream, err := broker.Produce(ctx)
	if err != nil {
		return nil, fmt.Errorf("produce: %w", err)
	}
	for frame := range 10 {
		request := &brokerv1.ProduceRequest{Topic: topic, FrameId: uint32(frame)}
		for i := range 10 {
			body := fmt.Sprintf("go stream %d", frame*10+i)
			request.Messages = append(request.Messages, message(body))
		}
		if err := stream.Send(request); err != nil {
			return nil, fmt.Errorf("produce: %w", err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, fmt.Errorf("produce: %w", err)
	}
	var all []produced
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("produce: %w", err)
		}
		for _, outcome := range response.GetOutcomes() {
			if outcome.GetReason() != "" {
				return nil, fmt.Errorf("refused: %s: %s", outcome.GetReason(), outcome.GetMessage())
			}
			place := produced{outcome.GetFrameId(), outcome.GetQueueId(), outcome.GetBaseOffset()}
			all = append(all, place)
		}
	}
}

func subscription(topic string) *brokerv1.Subscription {
	begin := &messagev1.OffsetTarget_Begin_{Begin: &messagev1.OffsetTarget_Begin{}}
	return &brokerv1.Subscription{Topic: topic, From: &messagev1.OffsetTarget{Target: begin}}
}

func settlements(leases []*messagev1.Lease) []*messagev1.Settlement {
	var all []*messagev1.Settlement
	for _, lease := range leases {
		all = append(all, &messagev1.Settlement{
			TopicId:     lease.GetTopicId(),
			QueueId:     lease.GetQueueId(),
			FirstOffset: lease.GetFirstOffset(),
			EndOffset:   lease.GetEndOffset(),
			LeaseId:     lease.GetLeaseId(),
			Action:      messagev1.Settlement_ACTION_ACKNOWLEDGE,
		})
	}
	return all
}

func receive(ctx context.Context, broker brokerv1.BrokerServiceClient, topic string) ([]string, error) {
	var bodies []string
	for {
		response, err := broker.Receive(ctx, &brokerv1.ReceiveRequest{
			Group:        "go-unary",
			Subscription: subscription(topic),
			MessagesMax:  32,
			WaitMs:       1000,
		})
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		if len(response.GetMessages()) == 0 {
			return bodies, nil
		}
		for _, stored := range response.GetMessages() {
			bodies = append(bodies, string(stored.GetMessage().GetBody()))
		}
		settled, err := broker.Settle(ctx, &brokerv1.SettleRequest{
			Group:       "go-unary",
			Settlements: settlements(response.GetLeases()),
		})
		if err != nil {
			return nil, fmt.Errorf("settle: %w", err)
		}
		if failures := settled.GetFailures(); len(failures) > 0 {
			return nil, fmt.Errorf("settlements failed: %v", failures)
		}
	}
}

func subscribe(ctx context.Context, broker brokerv1.BrokerServiceClient, topic string, count int) ([]string, error) {
	stream, err := broker.Subscribe(ctx)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	err = stream.Send(&brokerv1.SubscribeRequest{
		Open: &brokerv1.SubscriptionOpening{
			Group:         "go-stream",
			ConsumerId:    "go",
			Mode:          brokerv1.SubscriptionMode_SUBSCRIPTION_MODE_CLUSTERING,
			Subscriptions: []*brokerv1.Subscription{subscription(topic)},
		},
		CreditMessages: 32,
		CreditBytes:    1 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	var bodies []string
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return bodies, nil
		}
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		if failures := response.GetFailures(); len(failures) > 0 {
			return nil, fmt.Errorf("settlements failed: %v", failures)
		}
		if len(response.GetMessages()) == 0 {
			continue
		}
		bytes := 0
		for _, stored := range response.GetMessages() {
			bodies = append(bodies, string(stored.GetMessage().GetBody()))
			bytes += proto.Size(stored)
		}
		err = stream.Send(&brokerv1.SubscribeRequest{
			CreditMessages: uint32(len(response.GetMessages())),
			CreditBytes:    uint32(bytes),
			Settlements:    settlements(response.GetLeases()),
		})
		if err == nil && len(bodies) >= count {
			err = stream.CloseSend()
		}
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
}

func run(address, topic string) (*result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runMax)
	defer cancel()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	broker := brokerv1.NewBrokerServiceClient(connection)
	var all result
	if all.Sent, err = send(ctx, broker, topic); err != nil {
		return nil, err
	}
	if all.Produced, err = produce(ctx, broker, topic); err != nil {
		return nil, err
	}
	if all.Received, err = receive(ctx, broker, topic); err != nil {
		return nil, err
	}
	if all.Pushed, err = subscribe(ctx, broker, topic, len(all.Received)); err != nil {
		return nil, err
	}
	return &all, nil
}

func main() {
	all, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
