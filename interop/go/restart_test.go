package interop

// A restart of the broker. This client does not connect again by itself, so the test does, as its users do.

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ownBroker starts a broker for this test alone; what it gives back starts, stops or kills it.
func ownBroker(t *testing.T, name string) (run func(verb string), url string) {
	t.Helper()
	command := os.Getenv("INTEROP_BROKER")
	if command == "" {
		t.Skip("no WARRENMQ_BINARY")
	}
	call := func(verb string) string {
		said, err := exec.Command(command, verb, name).Output()
		if err != nil {
			t.Fatalf("broker %s: %v", verb, err)
		}
		return strings.TrimSpace(string(said))
	}
	port := call("start")
	t.Cleanup(func() { call("kill") })
	return func(verb string) { call(verb) }, "amqp://guest:guest@127.0.0.1:" + port
}

func dial(t *testing.T, url string) *amqp.Connection {
	t.Helper()
	connection, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(stepLimit)})
	must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func TestRestart(t *testing.T) {
	for _, verb := range []string{"stop", "kill"} {
		t.Run(verb, func(t *testing.T) {
			run, url := ownBroker(t, "go-"+verb)
			connection := dial(t, url)
			channel := confirming(t, connection)
			_, err := channel.QueueDeclare("kept", true, false, false, false, nil)
			must(t, err)
			fleeting := privateQueue(t, channel)
			for _, body := range []string{"a", "b", "c"} {
				acked(t, deferred(t, channel, "", "kept", true, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}))
			}
			deliveries := consume(t, channel, fleeting, true)
			ends := connection.NotifyClose(make(chan *amqp.Error, 1))

			run(verb)
			end := receive(t, "end of the connection", ends)
			if verb == "stop" {
				equal(t, "code", end.Code, amqp.ConnectionForced)
				equal(t, "sent by the broker", end.Server, true)
			}
			closed(t, "deliveries", deliveries)
			run("start")

			again := dial(t, url)
			channel = open(t, again)
			deliveries = consume(t, channel, "kept", false)
			sameList(t, "what was confirmed", bodies(t, deliveries, 3), []string{"a", "b", "c"})
			publish(t, channel, "", "kept", "after")
			sameList(t, "what comes after", bodies(t, deliveries, 1), []string{"after"})
			_, err = open(t, again).QueueDeclarePassive(fleeting, false, false, true, false, nil)
			refused(t, "exclusive queue", err, 404, "NOT_FOUND - no queue '"+fleeting+"' in vhost '/'")
		})
	}
}
