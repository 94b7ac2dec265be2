"""pika: publisher confirms and returns, with the blocking adapter."""

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError

import broker


@pytest.fixture
def confirming(channel):
    channel.confirm_delivery()
    return channel


@pytest.mark.parametrize("mode", [1, 2], ids=["transient", "persistent"])
@pytest.mark.parametrize("durable", [False, True], ids=["transient queue", "durable queue"])
def test_every_publish_is_confirmed(confirming, shared_queue, mode, durable):
    queue = shared_queue(durable=durable)
    for number in range(50):
        confirming.basic_publish(
            "", queue, str(number), pika.BasicProperties(delivery_mode=mode), mandatory=True
        )
    assert confirming.queue_declare(queue, durable=durable, passive=True).method.message_count == 50


def test_mandatory_without_a_route_is_returned(confirming, exchange):
    nowhere = exchange("direct")
    with pytest.raises(UnroutableError) as error:
        confirming.basic_publish(
            nowhere, "key", b"body", pika.BasicProperties(message_id="m1"), mandatory=True
        )
    (returned,) = error.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == (nowhere, "key")
    assert (returned.properties.message_id, returned.body) == ("m1", b"body")


def test_unroutable_without_mandatory_is_confirmed(confirming, exchange):
    confirming.basic_publish(exchange("fanout"), "", "nobody listens")


def test_returns_without_confirms_reach_the_callback(channel, exchange):
    nowhere, returned = exchange("fanout"), []
    channel.add_on_return_callback(
        lambda _, method, properties, body: returned.append((method.reply_code, properties.app_id, body))
    )
    for body in (b"a", b"b"):
        channel.basic_publish(nowhere, "", body, pika.BasicProperties(app_id="app"), mandatory=True)
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or len(returned) == 2)
    assert returned == [(312, "app", b"a"), (312, "app", b"b")]


def test_publish_to_many_queues_is_confirmed_once(confirming, exchange, shared_queue):
    fan, queues = exchange("fanout"), [shared_queue() for _ in range(5)]
    for queue in queues:
        confirming.queue_bind(queue, fan)
    for _ in range(3):
        confirming.basic_publish(fan, "", "to all", mandatory=True)
    assert [confirming.queue_declare(queue, passive=True).method.message_count for queue in queues] == [3] * 5


def test_publish_to_a_missing_exchange_closes_the_channel(confirming):
    missing = broker.unique("missing")
    with pytest.raises(ChannelClosedByBroker) as error:
        confirming.basic_publish(missing, "key", "body")
    assert (error.value.reply_code, error.value.reply_text) == (
        404,
        f"NOT_FOUND - no exchange '{missing}' in vhost '/'",
    )


def test_immediate_is_refused(connection, queue):
    """The blocking adapter has no `immediate`; its channel underneath has."""
    channel = connection.channel()
    method = pika.spec.Basic.Publish(exchange="", routing_key=queue, immediate=True)
    channel._impl._send_method(method, (pika.BasicProperties(), b"body"))
    with pytest.raises(ConnectionClosedByBroker) as error:
        broker.eventually(lambda: connection.process_data_events(0.05))
    assert (error.value.reply_code, error.value.reply_text) == (540, "NOT_IMPLEMENTED - immediate=true")


def test_confirms_while_a_consumer_reads(connect, confirming, shared_queue):
    queue, bodies = shared_queue(), []
    reader = connect().channel()
    reader.basic_consume(queue, lambda _, __, ___, body: bodies.append(int(body)), auto_ack=True)
    for number in range(300):
        confirming.basic_publish("", queue, str(number))
    broker.eventually(lambda: reader.connection.process_data_events(0.05) or len(bodies) == 300)
    assert bodies == list(range(300))
