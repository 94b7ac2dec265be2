package interop

// One session with a little of everything. What this client says in it is kept as a transcript: tests/transcripts/clients.

import (
	"context"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestSession(t *testing.T) {
	const exchange, queue = "session.go", "session.go.queue"
	connection, err := amqp.DialConfig(brokerURL(), amqp.Config{FrameSize: 8192, Dial: amqp.DefaultDial(stepLimit)})
	must(t, err)
	channel := open(t, connection)
	must(t, channel.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil))
	_, err = channel.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-max-length": int32(100), "x-queue-mode": "lazy"})
	must(t, err)
	must(t, channel.QueueBind(queue, "key.#", exchange, false, nil))

	must(t, channel.Confirm(false))
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	message := amqp.Publishing{
		Headers: amqp.Table{"text": "Grüße", "number": int32(7), "long": int64(1) << 40, "yes": true, "list": []interface{}{"a", int32(1)}, "table": amqp.Table{"in": 1.5}},
		ContentType: "text/plain", DeliveryMode: amqp.Persistent, Priority: 3, CorrelationId: "c1", ReplyTo: "nobody", MessageId: "m1",
		Timestamp: time.Unix(1_700_000_000, 0), Type: "event", UserId: "guest", AppId: "session", Body: []byte("first"),
	}
	acked(t, deferred(t, channel, exchange, "key.1", false, message))
	acked(t, deferred(t, channel, exchange, "key.2", true, amqp.Publishing{Body: []byte(strings.Repeat("x", 20_000))}))
	acked(t, deferred(t, channel, exchange, "key.3", false, amqp.Publishing{}))
	acked(t, deferred(t, channel, exchange, "other", true, amqp.Publishing{Body: []byte("comes back")}))
	equal(t, "reply code", receive(t, "return", returns).ReplyCode, 312)

	got, _, err := channel.Get(queue, false)
	must(t, err)
	equal(t, "body", string(got.Body), "first")
	must(t, got.Nack(false, true))
	must(t, channel.Qos(2, 0, false))
	deliveries, err := channel.Consume(queue, "session", false, false, false, false, nil)
	must(t, err)
	equal(t, "redelivered", receive(t, "delivery", deliveries).Redelivered, true)
	must(t, receive(t, "delivery", deliveries).Ack(true))
	must(t, receive(t, "delivery", deliveries).Reject(false))
	must(t, channel.Cancel("session", false))

	second := open(t, connection)
	private := privateQueue(t, second)
	deliveries = consume(t, second, private, true)
	must(t, second.PublishWithContext(context.Background(), "", private, false, false, amqp.Publishing{Body: []byte("to itself")}))
	equal(t, "body", string(receive(t, "delivery", deliveries).Body), "to itself")
	_, err = second.QueueDeclarePassive("session.go.none", false, false, false, false, nil)
	refused(t, "passive declare", err, 404, "NOT_FOUND - no queue 'session.go.none' in vhost '/'")

	_, err = channel.QueuePurge(queue, false)
	must(t, err)
	must(t, channel.QueueUnbind(queue, "key.#", exchange, nil))
	_, err = channel.QueueDelete(queue, false, false, false)
	must(t, err)
	must(t, channel.ExchangeDelete(exchange, false, false))
	must(t, channel.Close())
	must(t, connection.Close())
}
