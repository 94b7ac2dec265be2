"""pika: handshake, tuning, heartbeats, many channels, several connections."""

import time

import pika
import pytest
from pika.exceptions import AMQPConnectionError, AMQPError

import broker

CAPABILITIES = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "authentication_failure_close",
    "per_consumer_qos",
]


def test_server_properties(connection):
    properties = connection._impl.server_properties
    for name in ("product", "version", "platform", "copyright", "information", "cluster_name"):
        assert properties[name], name
    for name in CAPABILITIES:
        assert properties["capabilities"][name] is True, name
    assert connection.publisher_confirms_supported and connection.consumer_cancel_notify_supported


def test_url_parameters():
    with pika.BlockingConnection(
        pika.URLParameters(broker.URL + "?heartbeat=10&channel_max=20")
    ) as connection:
        assert connection._impl.params.channel_max == 20
        assert connection.channel().is_open


@pytest.mark.parametrize(
    "asked, agreed",
    [
        ({}, {"frame_max": 131072, "channel_max": 2047}),
        ({"frame_max": 8192, "channel_max": 5}, {"frame_max": 8192, "channel_max": 5}),
    ],
    ids=["defaults", "less"],
)
def test_tuning(connect, asked, agreed):
    connection = connect(**asked)
    assert {name: getattr(connection._impl.params, name) for name in agreed} == agreed
    connection.channel()


def test_many_channels(connect):
    connection = connect()
    channels = [connection.channel() for _ in range(200)]
    queue = channels[0].queue_declare("", exclusive=True).method.queue
    for number, channel in enumerate(channels):
        channel.basic_publish("", queue, str(number))
    for channel in channels[1:]:
        channel.close()
    broker.eventually(lambda: channels[0].queue_declare(queue, passive=True).method.message_count == 200)
    got = {channels[0].basic_get(queue, auto_ack=True)[2] for _ in range(200)}
    assert got == {str(number).encode() for number in range(200)}


def test_an_error_on_one_channel_leaves_its_neighbours_alone(connection):
    bad, good = connection.channel(), connection.channel()
    queue = good.queue_declare("", exclusive=True).method.queue
    got = []
    good.basic_consume(queue, lambda _, __, ___, body: got.append(body), auto_ack=True)
    with pytest.raises(AMQPError):
        bad.queue_declare(broker.unique("missing"), passive=True)
    good.basic_publish("", queue, "still here")
    broker.eventually(lambda: connection.process_data_events(0.05) or got)
    assert got == [b"still here"]


def test_connection_survives_several_heartbeats(connect):
    """Nothing but heartbeats for three intervals and more, then work as before."""
    connection = connect(heartbeat=2)
    channel = connection.channel()
    connection.sleep(7)
    assert connection.is_open
    assert channel.queue_declare("", exclusive=True).method.message_count == 0


def test_a_silent_client_is_dropped(connect):
    """The client sends nothing for many intervals: the broker gives it up, and its exclusive queue with it."""
    silent = pika.BlockingConnection(broker.parameters(heartbeat=1))
    queue = silent.channel().queue_declare(broker.unique("exclusive"), exclusive=True).method.queue
    probe = connect()

    def gone():
        try:
            probe.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return error.reply_code == 404

    began = time.monotonic()
    broker.eventually(gone, step=0.2)
    assert time.monotonic() - began > 1
    with pytest.raises(AMQPConnectionError):
        silent.process_data_events(1)


def test_connect_and_disconnect_many_times():
    for _ in range(50):
        with pika.BlockingConnection(broker.parameters()) as connection:
            connection.channel()
