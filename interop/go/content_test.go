package interop

// What is published arrives as it was: size, properties, headers.

import (
	"bytes"
	"crypto/rand"
	"reflect"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestBodySizes(t *testing.T) {
	for _, frameSize := range []int{0, 8192} {
		channel := open(t, connectWith(t, amqp.Config{FrameSize: frameSize}))
		queue := privateQueue(t, channel)
		deliveries := consume(t, channel, queue, true)
		for _, size := range []int{0, 1, 8184, 8185, 131064, 131065, 2_000_000} {
			body := make([]byte, size)
			_, err := rand.Read(body)
			must(t, err)
			publishing(t, channel, "", queue, amqp.Publishing{Body: body})
			if got := receive(t, "delivery", deliveries).Body; !bytes.Equal(got, body) {
				t.Fatalf("body of %d bytes arrives as %d other bytes", size, len(got))
			}
		}
	}
}

func TestPropertiesAndHeaders(t *testing.T) {
	channel := open(t, connect(t))
	queue := privateQueue(t, channel)
	now := time.Unix(1_700_000_000, 0)
	headers := amqp.Table{
		"text": "Grüße", "yes": true, "byte": byte(200), "int8": int8(-8), "int16": int16(-300), "int32": int32(70_000), "int64": int64(1) << 40,
		"float": float32(0.25), "double": 1.5, "decimal": amqp.Decimal{Scale: 2, Value: 12_345}, "when": now, "bytes": []byte{0, 1, 255},
		"nothing": nil, "list": []interface{}{"a", int32(1), []interface{}{true}}, "table": amqp.Table{"in": amqp.Table{"deep": "er"}},
	}
	publishing(t, channel, "", queue, amqp.Publishing{
		Headers: headers, ContentType: "application/json", ContentEncoding: "gzip", DeliveryMode: amqp.Persistent, Priority: 7,
		CorrelationId: "correlation", ReplyTo: "somewhere", Expiration: "600000", MessageId: "id-1", Timestamp: now, Type: "event",
		UserId: "guest", AppId: "interop", Body: []byte("{}"),
	})
	got := receive(t, "delivery", consume(t, channel, queue, true))
	if !reflect.DeepEqual(got.Headers, headers) {
		t.Fatalf("headers: %#v", got.Headers)
	}
	equal(t, "content type", got.ContentType, "application/json")
	equal(t, "content encoding", got.ContentEncoding, "gzip")
	equal(t, "delivery mode", got.DeliveryMode, amqp.Persistent)
	equal(t, "priority", got.Priority, 7)
	equal(t, "correlation id", got.CorrelationId, "correlation")
	equal(t, "reply to", got.ReplyTo, "somewhere")
	equal(t, "expiration", got.Expiration, "600000")
	equal(t, "message id", got.MessageId, "id-1")
	equal(t, "timestamp", got.Timestamp.Unix(), now.Unix())
	equal(t, "type", got.Type, "event")
	equal(t, "user id", got.UserId, "guest")
	equal(t, "app id", got.AppId, "interop")
}

func TestHeadersExchange(t *testing.T) {
	channel := open(t, connect(t))
	exchange := unique(t, "headers")
	must(t, channel.ExchangeDeclare(exchange, amqp.ExchangeHeaders, false, true, false, false, nil))
	all, one := privateQueue(t, channel), privateQueue(t, channel)
	must(t, channel.QueueBind(all, "", exchange, false, amqp.Table{"x-match": "all", "format": "pdf", "pages": int32(2)}))
	must(t, channel.QueueBind(one, "", exchange, false, amqp.Table{"x-match": "any", "format": "pdf", "pages": int32(2)}))
	for body, headers := range map[string]amqp.Table{"both": {"format": "pdf", "pages": int32(2)}, "none": {"format": "zip"}} {
		publishing(t, channel, exchange, "", amqp.Publishing{Headers: headers, Body: []byte(body)})
	}
	publishing(t, channel, exchange, "", amqp.Publishing{Headers: amqp.Table{"format": "pdf"}, Body: []byte("one")})
	for _, queue := range []string{all, one} {
		publish(t, channel, "", queue, "end")
	}
	sameList(t, "all", bodies(t, consume(t, channel, all, true), 2), []string{"both", "end"})
	sameList(t, "any", bodies(t, consume(t, channel, one, true), 3), []string{"both", "one", "end"})
}
