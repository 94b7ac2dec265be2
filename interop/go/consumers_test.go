package interop

// Consumers: how they end, what they return, who is served.

import (
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestConsumerCancelNotify(t *testing.T) {
	connection := connect(t)
	channel := open(t, connection)
	queue, err := channel.QueueDeclare(unique(t, "deleted"), false, false, false, false, nil)
	must(t, err)
	cancels := channel.NotifyCancel(make(chan string, 1))
	deliveries, err := channel.Consume(queue.Name, "mine", false, false, false, false, nil)
	must(t, err)

	_, err = open(t, connection).QueueDelete(queue.Name, false, false, false)
	must(t, err)
	equal(t, "cancelled consumer", receive(t, "cancel", cancels), "mine")
	closed(t, "deliveries", deliveries)
	// The channel lives on.
	privateQueue(t, channel)
}

func TestCancelByTheClient(t *testing.T) {
	channel := open(t, connect(t))
	queue := privateQueue(t, channel)
	deliveries, err := channel.Consume(queue, "mine", true, false, false, false, nil)
	must(t, err)
	must(t, channel.Cancel("mine", false))
	closed(t, "deliveries", deliveries)
	publish(t, channel, "", queue, "later")
	deliveries, err = channel.Consume(queue, "mine", true, false, false, false, nil)
	must(t, err)
	sameList(t, "after the cancel", bodies(t, deliveries, 1), []string{"later"})
}

func TestRequeueToTheOldPlace(t *testing.T) {
	connection := connect(t)
	channel := open(t, connection)
	queue := privateQueue(t, channel)
	for i := 1; i <= 5; i++ {
		publish(t, channel, "", queue, strconv.Itoa(i))
	}
	taker := open(t, connection)
	deliveries := consume(t, taker, queue, false)
	taken := make([]amqp.Delivery, 0, 5)
	for len(taken) < 5 {
		taken = append(taken, receive(t, "delivery", deliveries))
	}
	must(t, taken[0].Ack(false))
	must(t, taken[2].Reject(false))
	must(t, taker.Cancel(taken[0].ConsumerTag, false))
	must(t, taken[3].Nack(false, true))
	must(t, taken[1].Reject(true))
	must(t, taker.Close())

	again := consume(t, channel, queue, true)
	for _, body := range []string{"2", "4", "5"} {
		message := receive(t, "delivery", again)
		equal(t, "body", string(message.Body), body)
		equal(t, "redelivered", message.Redelivered, true)
	}
}

func TestMultipleAckAndRecover(t *testing.T) {
	channel := open(t, connect(t))
	queue := privateQueue(t, channel)
	for i := 1; i <= 4; i++ {
		publish(t, channel, "", queue, strconv.Itoa(i))
	}
	deliveries := consume(t, channel, queue, false)
	var second amqp.Delivery
	for i := 1; i <= 4; i++ {
		message := receive(t, "delivery", deliveries)
		equal(t, "delivery tag", message.DeliveryTag, uint64(i))
		if i == 2 {
			second = message
		}
	}
	must(t, second.Ack(true))
	must(t, channel.Recover(true))
	for _, body := range []string{"3", "4"} {
		message := receive(t, "delivery", deliveries)
		equal(t, "body", string(message.Body), body)
		equal(t, "redelivered", message.Redelivered, true)
	}
}

func TestGet(t *testing.T) {
	channel := open(t, connect(t))
	queue := privateQueue(t, channel)
	_, found, err := channel.Get(queue, false)
	must(t, err)
	equal(t, "found in an empty queue", found, false)
	publish(t, channel, "", queue, "a")
	publish(t, channel, "", queue, "b")
	message, found, err := channel.Get(queue, false)
	must(t, err)
	equal(t, "found", found, true)
	equal(t, "body", string(message.Body), "a")
	equal(t, "messages behind it", message.MessageCount, 1)
	must(t, message.Ack(false))
	count, err := channel.QueuePurge(queue, false)
	must(t, err)
	equal(t, "purged", count, 1)
}
