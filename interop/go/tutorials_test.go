package interop

// The six patterns of RabbitMQ's tutorials.

import (
	"sort"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestTutorial1Hello(t *testing.T) {
	channel := open(t, connect(t))
	queue, err := channel.QueueDeclare(unique(t, "hello"), false, true, false, false, nil)
	must(t, err)
	equal(t, "messages", queue.Messages, 0)
	equal(t, "consumers", queue.Consumers, 0)

	publish(t, channel, "", queue.Name, "Hello World!")
	message := receive(t, "delivery", consume(t, channel, queue.Name, true))
	equal(t, "body", string(message.Body), "Hello World!")
	equal(t, "routing key", message.RoutingKey, queue.Name)
	equal(t, "exchange", message.Exchange, "")
	equal(t, "redelivered", message.Redelivered, false)
}

func TestTutorial2WorkQueue(t *testing.T) {
	connection := connect(t)
	channel := open(t, connection)
	queue, err := channel.QueueDeclare(unique(t, "tasks"), true, false, false, false, nil)
	must(t, err)
	defer func() {
		_, err := channel.QueueDelete(queue.Name, false, false, false)
		must(t, err)
	}()

	worker := func() <-chan amqp.Delivery {
		own := open(t, connection)
		must(t, own.Qos(1, 0, false))
		return consume(t, own, queue.Name, false)
	}
	slow, quick := worker(), worker()
	for _, task := range []string{"one", "two", "three", "four"} {
		publishing(t, channel, "", queue.Name, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(task)})
	}

	// The slow worker holds its only task, so the quick one does all the others.
	held := receive(t, "delivery", slow)
	done := []string{string(held.Body)}
	for len(done) < 4 {
		task := receive(t, "delivery", quick)
		equal(t, "delivery mode", task.DeliveryMode, amqp.Persistent)
		done = append(done, string(task.Body))
		must(t, task.Ack(false))
	}
	equal(t, "deliveries beyond the prefetch", len(slow), 0)
	must(t, held.Ack(false))
	sort.Strings(done)
	sameList(t, "tasks", done, []string{"four", "one", "three", "two"})
}

func TestTutorial2UnacknowledgedTaskGoesToAnother(t *testing.T) {
	channel := open(t, connect(t))
	queue, err := channel.QueueDeclare(unique(t, "tasks"), false, false, false, false, nil)
	must(t, err)
	lost := connect(t)
	publish(t, channel, "", queue.Name, "task")
	first := receive(t, "delivery", consume(t, open(t, lost), queue.Name, false))
	equal(t, "redelivered", first.Redelivered, false)
	must(t, lost.Close())

	again := receive(t, "delivery", consume(t, channel, queue.Name, false))
	equal(t, "body", string(again.Body), "task")
	equal(t, "redelivered", again.Redelivered, true)
	must(t, again.Ack(false))
	_, err = channel.QueueDelete(queue.Name, false, false, false)
	must(t, err)
}

func TestTutorial3PublishSubscribe(t *testing.T) {
	channel := open(t, connect(t))
	exchange := unique(t, "logs")
	must(t, channel.ExchangeDeclare(exchange, amqp.ExchangeFanout, false, true, false, false, nil))
	queues := []string{privateQueue(t, channel), privateQueue(t, channel)}
	for _, queue := range queues {
		must(t, channel.QueueBind(queue, "", exchange, false, nil))
	}
	publish(t, channel, exchange, "ignored", "info: Hello World!")
	for _, queue := range queues {
		message := receive(t, "delivery", consume(t, channel, queue, true))
		equal(t, "body", string(message.Body), "info: Hello World!")
		equal(t, "exchange", message.Exchange, exchange)
	}
}

// bindings of one queue and the keys, in order, that it is to get.
type route struct {
	patterns []string
	expected []string
}

// checkRoutes publishes every key as its own body; a last message straight to each queue shows that nothing else was before it.
func checkRoutes(t *testing.T, kind string, keys []string, routes []route) {
	t.Helper()
	channel := open(t, connect(t))
	exchange := unique(t, kind)
	must(t, channel.ExchangeDeclare(exchange, kind, false, true, false, false, nil))
	queues := make([]string, len(routes))
	for i, route := range routes {
		queues[i] = privateQueue(t, channel)
		for _, pattern := range route.patterns {
			must(t, channel.QueueBind(queues[i], pattern, exchange, false, nil))
		}
	}
	for _, key := range keys {
		publish(t, channel, exchange, key, key)
	}
	for i, route := range routes {
		publish(t, channel, "", queues[i], "end")
		got := bodies(t, consume(t, channel, queues[i], true), len(route.expected)+1)
		sameList(t, route.patterns[0], got, append(append([]string{}, route.expected...), "end"))
	}
}

func TestTutorial4Routing(t *testing.T) {
	checkRoutes(t, amqp.ExchangeDirect, []string{"info", "error", "debug", "warning", "error"}, []route{
		{[]string{"error"}, []string{"error", "error"}},
		{[]string{"info", "warning", "error"}, []string{"info", "error", "warning", "error"}},
	})
}

func TestTutorial5Topics(t *testing.T) {
	keys := []string{
		"quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox", "lazy.brown.fox", "lazy.pink.rabbit",
		"quick.brown.fox", "orange", "quick.orange.new.rabbit", "lazy.orange.new.rabbit", "lazy",
	}
	checkRoutes(t, amqp.ExchangeTopic, keys, []route{
		{[]string{"*.orange.*"}, []string{"quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox"}},
		{[]string{"*.*.rabbit", "lazy.#"}, []string{
			"quick.orange.rabbit", "lazy.orange.elephant", "lazy.brown.fox", "lazy.pink.rabbit", "lazy.orange.new.rabbit", "lazy",
		}},
		{[]string{"#"}, keys},
		{[]string{"*"}, []string{"orange", "lazy"}},
		{[]string{"#.rabbit"}, []string{"quick.orange.rabbit", "lazy.pink.rabbit", "quick.orange.new.rabbit", "lazy.orange.new.rabbit"}},
	})
}

func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}

// serveFibonacci answers every request until its deliveries end.
func serveFibonacci(channel *amqp.Channel, requests <-chan amqp.Delivery, failed chan<- error) {
	for request := range requests {
		n, err := strconv.Atoi(string(request.Body))
		if err == nil {
			err = channel.Publish("", request.ReplyTo, false, false, amqp.Publishing{
				CorrelationId: request.CorrelationId,
				Body:          []byte(strconv.Itoa(fibonacci(n))),
			})
		}
		if err == nil {
			err = request.Ack(false)
		}
		if err != nil {
			failed <- err
			return
		}
	}
}

func TestTutorial6RPC(t *testing.T) {
	connection := connect(t)
	server := open(t, connection)
	queue, err := server.QueueDeclare(unique(t, "rpc"), false, true, false, false, nil)
	must(t, err)
	must(t, server.Qos(1, 0, false))
	failed := make(chan error, 1)
	go serveFibonacci(server, consume(t, server, queue.Name, false), failed)

	client := open(t, connection)
	replyTo := privateQueue(t, client)
	replies := consume(t, client, replyTo, true)
	asked := map[string]int{}
	for n := 0; n < 12; n++ {
		id := unique(t, "call")
		asked[id] = n
		publishing(t, client, "", queue.Name, amqp.Publishing{CorrelationId: id, ReplyTo: replyTo, Body: []byte(strconv.Itoa(n))})
	}
	for len(asked) > 0 {
		reply := receive(t, "reply", replies)
		n, ours := asked[reply.CorrelationId]
		equal(t, "known correlation id", ours, true)
		equal(t, "answer", string(reply.Body), strconv.Itoa(fibonacci(n)))
		delete(asked, reply.CorrelationId)
	}
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}
