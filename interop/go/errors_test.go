package interop

// Refusals: reply code and text, and that only the channel, or the whole connection, goes.

import (
	"errors"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func refused(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	var refusal *amqp.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%s: %v, expected %d", what, err, code)
	}
	equal(t, what+": code", refusal.Code, code)
	equal(t, what+": text", refusal.Reason, text)
	equal(t, what+": sent by the broker", refusal.Server, true)
}

func TestChannelErrors(t *testing.T) {
	connection := connect(t)
	owner := open(t, connect(t))
	none := unique(t, "none")
	long := none + strings.Repeat("x", 255-len(none))
	locked := unique(t, "locked")
	_, err := owner.QueueDeclare(locked, false, false, true, false, nil)
	must(t, err)
	there := unique(t, "there")
	_, err = owner.QueueDeclare(there, false, true, false, false, nil)
	must(t, err)
	consume(t, owner, there, true)

	cases := []struct {
		what string
		call func(*amqp.Channel) error
		code int
		text string
	}{
		{"passive declare", func(c *amqp.Channel) error {
			_, err := c.QueueDeclarePassive(none, false, false, false, false, nil)
			return err
		}, 404, "NOT_FOUND - no queue '" + none + "' in vhost '/'"},
		{"text of more than 255 bytes", func(c *amqp.Channel) error {
			_, err := c.QueueDeclarePassive(long, false, false, false, false, nil)
			return err
		}, 404, ("NOT_FOUND - no queue '" + long)[:252] + "..."},
		{"passive exchange", func(c *amqp.Channel) error {
			return c.ExchangeDeclarePassive(none, "direct", false, false, false, false, nil)
		}, 404, "NOT_FOUND - no exchange '" + none + "' in vhost '/'"},
		{"locked queue", func(c *amqp.Channel) error {
			_, err := c.QueuePurge(locked, false)
			return err
		}, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + locked + "' in vhost '/'. It could be originally declared" +
			" on another connection or the exclusive property value does not match that of the original declaration."},
		{"other property", func(c *amqp.Channel) error {
			_, err := c.QueueDeclare(there, false, false, false, false, nil)
			return err
		}, 406, "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '" + there + "' in vhost '/': received 'false' but current is 'true'"},
		{"in use", func(c *amqp.Channel) error {
			_, err := c.QueueDelete(there, true, false, false)
			return err
		}, 406, "PRECONDITION_FAILED - queue '" + there + "' in vhost '/' in use"},
		{"reserved name", func(c *amqp.Channel) error {
			_, err := c.QueueDeclare("amq.mine", false, false, true, false, nil)
			return err
		}, 403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"},
		{"transaction after confirms", func(c *amqp.Channel) error {
			must(t, c.Confirm(false))
			return c.Tx()
		}, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"},
	}
	for _, one := range cases {
		channel := open(t, connection)
		refused(t, one.what, one.call(channel), one.code, one.text)
		equal(t, one.what+": channel closed", channel.IsClosed(), true)
		equal(t, one.what+": connection closed", connection.IsClosed(), false)
	}
}

func TestUnknownDeliveryTag(t *testing.T) {
	channel := open(t, connect(t))
	notices := channel.NotifyClose(make(chan *amqp.Error, 1))
	must(t, channel.Ack(9, false))
	refused(t, "ack", receive(t, "close", notices), 406, "PRECONDITION_FAILED - unknown delivery tag 9")
}

func TestPublishToNoExchange(t *testing.T) {
	channel := open(t, connect(t))
	notices := channel.NotifyClose(make(chan *amqp.Error, 1))
	none := unique(t, "none")
	publish(t, channel, none, "key", "lost")
	refused(t, "publish", receive(t, "close", notices), 404, "NOT_FOUND - no exchange '"+none+"' in vhost '/'")
}

func TestConnectionError(t *testing.T) {
	connection := connect(t)
	notices := connection.NotifyClose(make(chan *amqp.Error, 1))
	err := open(t, connection).Qos(1, 10, false)
	if err == nil {
		t.Fatal("a prefetch size is accepted")
	}
	refused(t, "prefetch size", receive(t, "close", notices), 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)")
}

func TestRefusedConnections(t *testing.T) {
	config := amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "guest", Password: "wrong"}}}
	connection, err := amqp.DialConfig(brokerURL(), config)
	if err == nil {
		_ = connection.Close()
		t.Fatal("a wrong password is accepted")
	}
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.AccessRefused {
		t.Fatalf("wrong password: %v", err)
	}

	connection, err = amqp.DialConfig(brokerURL(), amqp.Config{Vhost: unique(t, "vhost")})
	if err == nil {
		_ = connection.Close()
		t.Fatal("an unknown vhost is accepted")
	}
}

func TestAMQPlain(t *testing.T) {
	connection := connectWith(t, amqp.Config{SASL: []amqp.Authentication{&amqp.AMQPlainAuth{Username: "guest", Password: "guest"}}})
	privateQueue(t, open(t, connection))
}
