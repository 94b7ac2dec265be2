// Package interop holds tests of a broker with the client that RabbitMQ's authors wrote for Go.
//
// This file: what every test needs. A connection that is closed at its end, names nobody else uses, waits that end.
package interop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// How long one step may take. Generous: the machine may be busy.
const stepLimit = 15 * time.Second

func brokerURL() string {
	if url := os.Getenv("AMQP_URL"); url != "" {
		return url
	}
	return "amqp://guest:guest@127.0.0.1:5672"
}

// unique makes a name that no other test, run or client uses.
func unique(t *testing.T, what string) string {
	t.Helper()
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	return "interop.go." + what + "." + hex.EncodeToString(random[:])
}

func connect(t *testing.T) *amqp.Connection {
	t.Helper()
	return connectWith(t, amqp.Config{})
}

func connectWith(t *testing.T, config amqp.Config) *amqp.Connection {
	t.Helper()
	config.Dial = amqp.DefaultDial(stepLimit)
	config.Properties = amqp.NewConnectionProperties()
	connection, err := amqp.DialConfig(brokerURL(), config)
	must(t, err)
	t.Cleanup(func() { _ = connection.CloseDeadline(time.Now().Add(5 * time.Second)) })
	return connection
}

func open(t *testing.T, connection *amqp.Connection) *amqp.Channel {
	t.Helper()
	channel, err := connection.Channel()
	must(t, err)
	return channel
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, expected %v", what, got, want)
	}
}

// privateQueue declares a server-named queue of this connection, gone with it.
func privateQueue(t *testing.T, channel *amqp.Channel) string {
	t.Helper()
	queue, err := channel.QueueDeclare("", false, false, true, false, nil)
	must(t, err)
	if !strings.HasPrefix(queue.Name, "amq.gen-") {
		t.Fatalf("server-named queue is called %q", queue.Name)
	}
	return queue.Name
}

func publish(t *testing.T, channel *amqp.Channel, exchange, key, body string) {
	t.Helper()
	publishing(t, channel, exchange, key, amqp.Publishing{Body: []byte(body)})
}

func publishing(t *testing.T, channel *amqp.Channel, exchange, key string, message amqp.Publishing) {
	t.Helper()
	must(t, channel.PublishWithContext(context.Background(), exchange, key, false, false, message))
}

func consume(t *testing.T, channel *amqp.Channel, queue string, autoAck bool) <-chan amqp.Delivery {
	t.Helper()
	deliveries, err := channel.Consume(queue, "", autoAck, false, false, false, nil)
	must(t, err)
	return deliveries
}

// receive takes what comes next from a channel of the client's: a delivery, a confirm, a notice.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case value, ok := <-from:
		if !ok {
			t.Fatalf("%s: the channel was closed", what)
		}
		return value
	case <-time.After(stepLimit):
		t.Fatalf("no %s within %s", what, stepLimit)
	}
	panic("unreachable")
}

// closed waits until the client closes the channel, and fails on a value.
func closed[T any](t *testing.T, what string, notices <-chan T) {
	t.Helper()
	select {
	case value, ok := <-notices:
		if ok {
			t.Fatalf("%s: %v instead of its end", what, value)
		}
	case <-time.After(stepLimit):
		t.Fatalf("%s: no end within %s", what, stepLimit)
	}
}

// bodies takes the given number of deliveries.
func bodies(t *testing.T, deliveries <-chan amqp.Delivery, count int) []string {
	t.Helper()
	taken := make([]string, 0, count)
	for len(taken) < count {
		taken = append(taken, string(receive(t, "delivery", deliveries).Body))
	}
	return taken
}

// sameList compares in order.
func sameList(t *testing.T, what string, got, want []string) {
	t.Helper()
	equal(t, what, strings.Join(got, ","), strings.Join(want, ","))
}
