// The official client of RocketMQ 5 for Go, driven by commands: one JSON object a line in, one out. See
// ../official-client.ts for what they are.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
)

type filter struct{ Type, Expression string }

type command struct {
	Do, Checker, Topic, Body, Tag, MessageGroup, Transaction, RecallHandle, Group string
	Topics, Keys                                                                  []string
	Properties                                                                    map[string]string
	DelayMs, AwaitMs, InvisibleMs, WithinMs                                       int64
	Max, Handle, Count                                                            int
	Filter                                                                        filter
}

type told struct {
	MessageId    string            `json:"messageId"`
	Body         string            `json:"body"`
	Tag          string            `json:"tag"`
	Keys         []string          `json:"keys"`
	Properties   map[string]string `json:"properties"`
	MessageGroup string            `json:"messageGroup"`
	Attempt      int32             `json:"attempt"`
	Handle       int               `json:"handle"`
	Failed       bool              `json:"failed"`
}

type answer struct {
	Ok           bool   `json:"ok"`
	Code         int32  `json:"code,omitempty"`
	Error        string `json:"error,omitempty"`
	MessageId    string `json:"messageId,omitempty"`
	RecallHandle string `json:"recallHandle"`
	Messages     []told `json:"messages"`
}

var (
	ctx      = context.Background()
	producer rmq.Producer
	simple   rmq.SimpleConsumer
	push     rmq.PushConsumer
	received []*rmq.MessageView
	lock     sync.Mutex
	pushed   = []told{}
)

func textOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func tell(message *rmq.MessageView) told {
	keys := message.GetKeys()
	if keys == nil {
		keys = []string{}
	}
	return told{
		MessageId:    message.GetMessageId(),
		Body:         string(message.GetBody()),
		Tag:          textOf(message.GetTag()),
		Keys:         keys,
		Properties:   message.GetProperties(),
		MessageGroup: textOf(message.GetMessageGroup()),
		Attempt:      message.GetDeliveryAttempt(),
	}
}

func config(group string) *rmq.Config {
	keys := &credentials.SessionCredentials{}
	if len(os.Args) > 3 {
		keys.AccessKey, keys.AccessSecret = os.Args[2], os.Args[3]
	}
	return &rmq.Config{Endpoint: os.Args[1], ConsumerGroup: group, Credentials: keys}
}

func subscription(one command) map[string]*rmq.FilterExpression {
	kind := rmq.TAG
	if one.Filter.Type == "sql" {
		kind = rmq.SQL92
	}
	wanted := rmq.NewFilterExpressionWithType(one.Filter.Expression, kind)
	return map[string]*rmq.FilterExpression{one.Topic: wanted}
}

func openProducer(one command) (err error) {
	options := []rmq.ProducerOption{rmq.WithTopics(one.Topics...)}
	if one.Checker != "" {
		options = append(options, rmq.WithTransactionChecker(&rmq.TransactionChecker{
			Check: func(*rmq.MessageView) rmq.TransactionResolution {
				if one.Checker == "commit" {
					return rmq.COMMIT
				}
				return rmq.ROLLBACK
			},
		}))
	}
	if producer, err = rmq.NewProducer(config(""), options...); err != nil {
		return err
	}
	return producer.Start()
}

func send(one command, to *answer) error {
	message := &rmq.Message{Topic: one.Topic, Body: []byte(one.Body)}
	if one.Tag != "" {
		message.SetTag(one.Tag)
	}
	message.SetKeys(one.Keys...)
	for name, value := range one.Properties {
		message.AddProperty(name, value)
	}
	if one.MessageGroup != "" {
		message.SetMessageGroup(one.MessageGroup)
	}
	if one.DelayMs > 0 {
		message.SetDelayTimestamp(time.Now().Add(time.Duration(one.DelayMs) * time.Millisecond))
	}
	var receipts []*rmq.SendReceipt
	var err error
	var transaction rmq.Transaction
	if one.Transaction == "" {
		receipts, err = producer.Send(ctx, message)
	} else {
		transaction = producer.BeginTransaction()
		receipts, err = producer.SendWithTransaction(ctx, message, transaction)
	}
	if err != nil {
		return err
	}
	to.MessageId, to.RecallHandle = receipts[0].MessageID, receipts[0].RecallHandle
	switch one.Transaction {
	case "commit":
		return transaction.Commit()
	case "rollback":
		return transaction.RollBack()
	}
	return nil
}

func receive(one command, to *answer) error {
	to.Messages = []told{}
	invisible := time.Duration(one.InvisibleMs) * time.Millisecond
	messages, err := simple.Receive(ctx, int32(one.Max), invisible)
	var status *rmq.ErrRpcStatus
	if errors.As(err, &status) && status.GetCode() == 40401 {
		return nil
	}
	for _, message := range messages {
		received = append(received, message)
		one := tell(message)
		one.Handle = len(received)
		to.Messages = append(to.Messages, one)
	}
	return err
}

func openPush(one command) (err error) {
	listener := &rmq.FuncMessageListener{Consume: func(message *rmq.MessageView) rmq.ConsumerResult {
		one := tell(message)
		one.Failed = strings.HasPrefix(one.Body, "fail")
		lock.Lock()
		pushed = append(pushed, one)
		lock.Unlock()
		if one.Failed {
			return rmq.FAILURE
		}
		return rmq.SUCCESS
	}}
	push, err = rmq.NewPushConsumer(config(one.Group),
		rmq.WithPushAwaitDuration(5*time.Second),
		rmq.WithPushSubscriptionExpressions(subscription(one)),
		rmq.WithPushMessageListener(listener))
	if err != nil {
		return err
	}
	return push.Start()
}

func run(one command, to *answer) (err error) {
	switch one.Do {
	case "producer":
		return openProducer(one)
	case "send":
		return send(one, to)
	case "recall":
		to.MessageId, err = producer.Recall(ctx, one.Topic, one.RecallHandle)
		return err
	case "simple":
		simple, err = rmq.NewSimpleConsumer(config(one.Group),
			rmq.WithSimpleAwaitDuration(time.Duration(one.AwaitMs)*time.Millisecond),
			rmq.WithSimpleSubscriptionExpressions(subscription(one)))
		if err != nil {
			return err
		}
		return simple.Start()
	case "receive":
		return receive(one, to)
	case "ack":
		return simple.Ack(ctx, received[one.Handle-1])
	case "change":
		invisible := time.Duration(one.InvisibleMs) * time.Millisecond
		return simple.ChangeInvisibleDuration(received[one.Handle-1], invisible)
	case "push":
		return openPush(one)
	case "pushed":
		until := time.Now().Add(time.Duration(one.WithinMs) * time.Millisecond)
		for {
			lock.Lock()
			to.Messages = append([]told{}, pushed...)
			lock.Unlock()
			if len(to.Messages) >= one.Count || time.Now().After(until) {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "close":
		if producer != nil {
			_ = producer.GracefulStop()
		}
		if simple != nil {
			_ = simple.GracefulStop()
		}
		if push != nil {
			_ = push.GracefulStop()
		}
		return nil
	}
	return errors.New("no such command: " + one.Do)
}

func main() {
	rmq.ResetLogger()
	rmq.EnableSsl = os.Getenv("ROCKETMQ_TLS") == "true"
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var one command
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		to := answer{Ok: true}
		if err := run(one, &to); err != nil {
			to = answer{Error: err.Error()}
			var status *rmq.ErrRpcStatus
			if errors.As(err, &status) {
				to.Code = status.GetCode()
			}
		}
		_ = out.Encode(to)
		if one.Do == "close" {
			return
		}
	}
}
