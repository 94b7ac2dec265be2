package interop

// The handshake and heartbeats.

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestServerProperties(t *testing.T) {
	connection := connect(t)
	for _, name := range []string{"product", "version", "platform", "copyright", "information", "cluster_name"} {
		if text, ok := connection.Properties[name].(string); !ok || text == "" {
			t.Fatalf("%s: %v", name, connection.Properties[name])
		}
	}
	capabilities, _ := connection.Properties["capabilities"].(amqp.Table)
	for _, name := range []string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
		"authentication_failure_close",
	} {
		equal(t, name, capabilities[name], interface{}(true))
	}
}

func TestTuning(t *testing.T) {
	connection := connectWith(t, amqp.Config{ChannelMax: 5, FrameSize: 8192, Heartbeat: 20 * time.Second})
	equal(t, "channel max", connection.Config.ChannelMax, 5)
	equal(t, "frame size", connection.Config.FrameSize, 8192)
	equal(t, "heartbeat", connection.Config.Heartbeat, 20*time.Second)
	for i := 0; i < 5; i++ {
		open(t, connection)
	}
}

func TestConnectionSurvivesHeartbeats(t *testing.T) {
	t.Parallel()
	connection := connectWith(t, amqp.Config{Heartbeat: 2 * time.Second})
	channel := open(t, connection)
	time.Sleep(5 * time.Second)
	equal(t, "closed", connection.IsClosed(), false)
	privateQueue(t, channel)
}
