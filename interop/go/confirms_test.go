package interop

// Publisher confirms, deferred and by notice, and returned messages.

import (
	"context"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func confirming(t *testing.T, connection *amqp.Connection) *amqp.Channel {
	t.Helper()
	channel := open(t, connection)
	must(t, channel.Confirm(false))
	return channel
}

// deferred publishes and gives back what to wait for.
func deferred(t *testing.T, channel *amqp.Channel, exchange, key string, mandatory bool, message amqp.Publishing) *amqp.DeferredConfirmation {
	t.Helper()
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(context.Background(), exchange, key, mandatory, false, message)
	must(t, err)
	return confirmation
}

func acked(t *testing.T, confirmation *amqp.DeferredConfirmation) {
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	ok, err := confirmation.WaitContext(limit)
	must(t, err)
	equal(t, "confirmed", ok, true)
}

func TestDeferredConfirms(t *testing.T) {
	connection := connect(t)
	channel := confirming(t, connection)
	queue, err := channel.QueueDeclare(unique(t, "confirmed"), true, false, false, false, nil)
	must(t, err)
	defer func() {
		count, err := channel.QueueDelete(queue.Name, false, false, false)
		must(t, err)
		equal(t, "deleted messages", count, 300)
	}()

	var open []*amqp.DeferredConfirmation
	for i := 0; i < 300; i++ {
		mode := amqp.Transient
		if i%3 == 0 {
			mode = amqp.Persistent
		}
		confirmation := deferred(t, channel, "", queue.Name, true, amqp.Publishing{DeliveryMode: mode, Body: []byte(strconv.Itoa(i))})
		equal(t, "delivery tag", confirmation.DeliveryTag, uint64(i+1))
		open = append(open, confirmation)
	}
	for _, confirmation := range open {
		acked(t, confirmation)
	}
}

func TestNotifyPublishInOrder(t *testing.T) {
	channel := confirming(t, connect(t))
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, 100))
	queue := privateQueue(t, channel)
	for i := 0; i < 100; i++ {
		publish(t, channel, "", queue, strconv.Itoa(i))
	}
	for i := 0; i < 100; i++ {
		confirm := receive(t, "confirm", confirms)
		equal(t, "ack", confirm.Ack, true)
		equal(t, "delivery tag", confirm.DeliveryTag, uint64(i+1))
	}
}

func TestUnroutableIsConfirmed(t *testing.T) {
	channel := confirming(t, connect(t))
	acked(t, deferred(t, channel, "amq.direct", unique(t, "nowhere"), false, amqp.Publishing{}))
}

func TestMandatoryIsReturnedBeforeItsConfirm(t *testing.T) {
	channel := confirming(t, connect(t))
	// Room for both, so that the order in which they are put there is the broker's.
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	key := unique(t, "nowhere")
	message := amqp.Publishing{ContentType: "text/plain", Headers: amqp.Table{"n": int32(1)}, Body: []byte("come back")}
	acked(t, deferred(t, channel, "amq.direct", key, true, message))

	equal(t, "returns at the time of the confirm", len(returns), 1)
	returned := receive(t, "return", returns)
	equal(t, "reply code", returned.ReplyCode, 312)
	equal(t, "reply text", returned.ReplyText, "NO_ROUTE")
	equal(t, "exchange", returned.Exchange, "amq.direct")
	equal(t, "routing key", returned.RoutingKey, key)
	equal(t, "content type", returned.ContentType, "text/plain")
	equal(t, "header", returned.Headers["n"].(int32), 1)
	equal(t, "body", string(returned.Body), "come back")
}

func TestTransaction(t *testing.T) {
	channel := open(t, connect(t))
	queue := privateQueue(t, channel)
	must(t, channel.Tx())
	publish(t, channel, "", queue, "rolled back")
	must(t, channel.TxRollback())
	publish(t, channel, "", queue, "committed")
	_, found, err := channel.Get(queue, true)
	must(t, err)
	equal(t, "visible before the commit", found, false)
	must(t, channel.TxCommit())
	message, found, err := channel.Get(queue, false)
	must(t, err)
	equal(t, "visible after the commit", found, true)
	equal(t, "body", string(message.Body), "committed")
}
