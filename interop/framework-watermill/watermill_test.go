// Package interop holds tests of a broker with Watermill: what its own suite for AMQP, which `run` runs beside them, leaves out.
// Routers with retries and a poison queue, topic exchanges, and, by hand, a broker that is restarted under both sides.
package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	rabbit "github.com/rabbitmq/amqp091-go"
)

// How long one step may take. Generous: the machine may be busy.
const stepLimit = 30 * time.Second

var quiet = watermill.NopLogger{}

func brokerURL() string { return os.Getenv("WATERMILL_TEST_AMQP_URI") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unique makes a name that no other test or run uses.
func unique(what string) string { return "interop.watermill." + what + "." + watermill.NewShortUUID() }

func publisher(t *testing.T, config amqp.Config) message.Publisher {
	t.Helper()
	made, err := amqp.NewPublisher(config, quiet)
	must(t, err)
	t.Cleanup(func() { _ = made.Close() })
	return made
}

func subscribe(t *testing.T, config amqp.Config, topic string) <-chan *message.Message {
	t.Helper()
	subscriber, err := amqp.NewSubscriber(config, quiet)
	must(t, err)
	t.Cleanup(func() { _ = subscriber.Close() })
	messages, err := subscriber.Subscribe(context.Background(), topic)
	must(t, err)
	return messages
}

func next(t *testing.T, from <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case got, open := <-from:
		if !open {
			t.Fatal("the subscription has ended")
		}
		return got
	case <-time.After(stepLimit):
		t.Fatalf("no message within %s", stepLimit)
	}
	panic("unreachable")
}

// forget deletes queues and exchanges after the test.
func forget(t *testing.T, names ...string) {
	t.Helper()
	t.Cleanup(func() {
		connection, err := rabbit.Dial(brokerURL())
		must(t, err)
		defer connection.Close()
		channel, err := connection.Channel()
		must(t, err)
		for _, name := range names {
			_, err = channel.QueueDelete(name, false, false, false)
			must(t, err)
			must(t, channel.ExchangeDelete(name, false, false))
		}
	})
}

// A handler that fails is tried again in place; what fails too often goes to the poison queue, with its reason.
func TestRouterRetriesAndPoisons(t *testing.T) {
	work, poison, done := unique("work"), unique("poison"), unique("done")
	forget(t, work, poison, done)
	config := amqp.NewDurableQueueConfig(brokerURL())
	config.Publish.ConfirmDelivery = true
	out := publisher(t, config)
	poisoned, finished := subscribe(t, config, poison), subscribe(t, config, done)

	router, err := message.NewRouter(message.RouterConfig{}, quiet)
	must(t, err)
	toPoison, err := middleware.PoisonQueue(out, poison)
	must(t, err)
	router.AddMiddleware(toPoison, middleware.Retry{MaxRetries: 2, InitialInterval: 10 * time.Millisecond}.Middleware)
	subscriber, err := amqp.NewSubscriber(config, quiet)
	must(t, err)
	var tries atomic.Int32
	router.AddHandler("work", work, subscriber, done, out, func(got *message.Message) ([]*message.Message, error) {
		if string(got.Payload) == "bad" || tries.Add(1) < 3 {
			return nil, errors.New("on purpose")
		}
		return message.Messages{message.NewMessage(watermill.NewUUID(), got.Payload)}, nil
	})
	go func() { _ = router.Run(context.Background()) }()
	t.Cleanup(func() { _ = router.Close() })
	<-router.Running()

	must(t, out.Publish(work, message.NewMessage(watermill.NewUUID(), []byte("good"))))
	must(t, out.Publish(work, message.NewMessage(watermill.NewUUID(), []byte("bad"))))
	good := next(t, finished)
	good.Ack()
	if string(good.Payload) != "good" || tries.Load() != 3 {
		t.Fatalf("%q after %d tries", good.Payload, tries.Load())
	}
	bad := next(t, poisoned)
	bad.Ack()
	if reason := bad.Metadata.Get(middleware.ReasonForPoisonedKey); reason != "on purpose" {
		t.Fatalf("reason %q", reason)
	}
}

// Nacked, a message comes again and says that it was delivered before.
func TestNackRequeues(t *testing.T) {
	queue := unique("again")
	forget(t, queue)
	config := amqp.NewDurableQueueConfig(brokerURL())
	messages := subscribe(t, config, queue)
	must(t, publisher(t, config).Publish(queue, message.NewMessage("id", []byte("x"))))
	next(t, messages).Nack()
	second := next(t, messages)
	second.Ack()
	if second.UUID != "id" || second.Metadata.Get(amqp.MetadataRedeliveredKey) != "true" {
		t.Fatalf("id %q, %v", second.UUID, second.Metadata)
	}
}

func TestTopicExchange(t *testing.T) {
	exchange, queue := unique("exchange"), unique("queue")
	forget(t, exchange, queue)
	config := amqp.NewDurableTopicConfig(brokerURL(), exchange, queue)
	messages := subscribe(t, config, "orders.*.created")
	out := publisher(t, config)
	must(t, out.Publish("orders.eu.deleted", message.NewMessage("1", nil)))
	must(t, out.Publish("orders.eu.created", message.NewMessage("2", nil)))
	got := next(t, messages)
	got.Ack()
	if got.UUID != "2" {
		t.Fatalf("id %q", got.UUID)
	}
}

func TestQuorumQueue(t *testing.T) {
	queue := unique("quorum")
	forget(t, queue)
	config := amqp.NewDurableQueueConfig(brokerURL())
	config.Queue.Arguments = rabbit.Table{"x-queue-type": "quorum"}
	config.Publish.ConfirmDelivery = true
	messages, out := subscribe(t, config, queue), publisher(t, config)
	for number := range 50 {
		must(t, out.Publish(queue, message.NewMessage(fmt.Sprint(number), nil)))
	}
	for number := range 50 {
		got := next(t, messages)
		if got.UUID != fmt.Sprint(number) {
			t.Fatalf("%s instead of %d", got.UUID, number)
		}
		got.Ack()
	}
}

// Watermill's own test: 10,000 messages by 100 publishers, two restarts in between, nothing lost.
func TestReconnect(t *testing.T) {
	restart, port := os.Getenv("AMQP_RESTART"), os.Getenv("AMQP_RESTART_PORT")
	if restart == "" || testing.Short() {
		t.Skip("takes minutes, and a broker that may be restarted")
	}
	url := fmt.Sprintf("amqp://guest:guest@127.0.0.1:%s/", port)
	features := tests.Features{
		ConsumerGroups:                      true,
		GuaranteedOrder:                     true,
		GuaranteedOrderWithSingleSubscriber: true,
		Persistent:                          true,
		RestartServiceCommand:               []string{"sh", "-c", restart},
	}
	tests.TestReconnect(t, tests.TestContext{TestID: tests.NewTestID(), Features: features},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			config := amqp.NewDurablePubSubConfig(url, amqp.GenerateQueueNameTopicNameWithSuffix("test"))
			config.Publish.Transactional = true
			config.Connection.Reconnect = amqp.DefaultReconnectConfig()
			out, err := amqp.NewPublisher(config, quiet)
			must(t, err)
			in, err := amqp.NewSubscriber(config, quiet)
			must(t, err)
			return out, in
		})
}
