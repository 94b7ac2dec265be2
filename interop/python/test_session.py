"""One session with a little of everything, for each client. What they say in it is kept as transcripts:
tests/transcripts/clients."""

import datetime

import aio_pika
import amqp
import pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import ChannelNotFoundEntity
from pika.exceptions import ChannelClosedByBroker, UnroutableError

import broker
from broker import asynchronous, until

ARGUMENTS = {"x-max-length": 100, "x-queue-mode": "lazy"}
HEADERS = {"text": "Grüße", "number": 7, "long": 2**40, "yes": True, "list": ["a", 1], "table": {"in": "deep"}}
PROPERTIES = {
    "content_type": "text/plain",
    "priority": 3,
    "correlation_id": "c1",
    "reply_to": "nobody",
    "message_id": "m1",
    "type": "event",
    "user_id": "guest",
    "app_id": "session",
}
LARGE = b"x" * 20_000


def test_session_pika():
    exchange, queue = "session.pika", "session.pika.queue"
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.HOST, broker.PORT, frame_max=8192))
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.queue_declare(queue, durable=True, arguments=ARGUMENTS)
    channel.queue_bind(queue, exchange, "key.#")
    channel.confirm_delivery()
    properties = pika.BasicProperties(headers=HEADERS, delivery_mode=2, timestamp=1_700_000_000, **PROPERTIES)
    channel.basic_publish(exchange, "key.1", b"first", properties)
    channel.basic_publish(exchange, "key.2", LARGE, mandatory=True)
    channel.basic_publish(exchange, "key.3", b"")
    with pytest.raises(UnroutableError):
        channel.basic_publish(exchange, "other", b"comes back", mandatory=True)

    method, _, body = channel.basic_get(queue)
    assert body == b"first"
    channel.basic_nack(method.delivery_tag, requeue=True)
    channel.basic_qos(prefetch_count=2)
    got = []
    tag = channel.basic_consume(queue, lambda _, method, __, body: got.append(method), consumer_tag="session")
    broker.eventually(lambda: connection.process_data_events(0.05) or len(got) == 2)
    assert got[0].redelivered
    channel.basic_ack(got[1].delivery_tag, multiple=True)
    broker.eventually(lambda: connection.process_data_events(0.05) or len(got) == 3)
    channel.basic_reject(got[2].delivery_tag, requeue=False)
    channel.basic_cancel(tag)

    second, bodies = connection.channel(), []
    own = second.queue_declare("", exclusive=True).method.queue
    second.basic_consume(own, lambda _, __, ___, body: bodies.append(body), auto_ack=True)
    second.basic_publish("", own, b"to itself")
    broker.eventually(lambda: connection.process_data_events(0.05) or bodies == [b"to itself"])
    with pytest.raises(ChannelClosedByBroker):
        second.queue_declare("session.pika.none", passive=True)

    channel.queue_purge(queue)
    channel.queue_unbind(queue, exchange, "key.#")
    channel.queue_delete(queue)
    channel.exchange_delete(exchange)
    channel.close()
    connection.close()


@asynchronous
async def test_session_aio_pika():
    connection = await aio_pika.connect(broker.URL)
    channel = await connection.channel()
    exchange = await channel.declare_exchange("session.aio-pika", ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue("session.aio-pika.queue", durable=True, arguments=ARGUMENTS)
    await queue.bind(exchange, "key.#")
    moment = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    first = Message(b"first", headers=HEADERS, delivery_mode=DeliveryMode.PERSISTENT, timestamp=moment, **PROPERTIES)
    await exchange.publish(first, "key.1", mandatory=False)
    await exchange.publish(Message(LARGE), "key.2")
    await exchange.publish(Message(b""), "key.3", mandatory=False)
    returned = await exchange.publish(Message(b"comes back"), "other")
    assert returned.delivery.reply_code == 312

    await (await queue.get()).nack(requeue=True)
    await channel.set_qos(prefetch_count=2)
    got = []

    async def receive(message):
        got.append(message)

    tag = await queue.consume(receive, consumer_tag="session")
    await until(lambda: len(got) == 2)
    assert got[0].redelivered
    await got[1].ack(multiple=True)
    await until(lambda: len(got) == 3)
    await got[2].reject(requeue=False)
    await queue.cancel(tag)

    second, bodies = await connection.channel(publisher_confirms=False), []
    own = await second.declare_queue(exclusive=True)

    async def keep(message):
        bodies.append(message.body)

    await own.consume(keep, no_ack=True, consumer_tag="itself")
    await second.default_exchange.publish(Message(b"to itself"), own.name, mandatory=False)
    await until(lambda: bodies == [b"to itself"])
    with pytest.raises(ChannelNotFoundEntity):
        await second.declare_queue("session.aio-pika.none", passive=True)

    await queue.purge()
    await queue.unbind(exchange, "key.#")
    await queue.delete()
    await exchange.delete()
    await channel.close()
    await connection.close()


def test_session_py_amqp():
    exchange, queue = "session.py-amqp", "session.py-amqp.queue"
    address = f"{broker.HOST}:{broker.PORT}"
    connection = amqp.Connection(address, "guest", "guest", frame_max=8192, confirm_publish=True)
    connection.connect()
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=ARGUMENTS)
    channel.queue_bind(queue, exchange, "key.#")
    moment = 1_700_000_000
    first = amqp.Message("first", application_headers=HEADERS, delivery_mode=2, timestamp=moment, **PROPERTIES)
    channel.basic_publish_confirm(first, exchange, "key.1")
    channel.basic_publish_confirm(amqp.Message(LARGE), exchange, "key.2", mandatory=True)
    channel.basic_publish_confirm(amqp.Message(""), exchange, "key.3")

    message = channel.basic_get(queue)
    assert message.body == "first"
    channel.basic_reject(message.delivery_tag, requeue=True)
    channel.basic_qos(0, 2, False)
    got = []
    channel.basic_consume(queue, consumer_tag="session", callback=got.append)
    broker.eventually(lambda: connection.drain_events(timeout=broker.PATIENCE) or len(got) == 2)
    assert got[0].delivery_info["redelivered"]
    channel.basic_ack(got[1].delivery_tag, multiple=True)
    broker.eventually(lambda: connection.drain_events(timeout=broker.PATIENCE) or len(got) == 3)
    channel.basic_reject(got[2].delivery_tag, requeue=False)
    channel.basic_cancel("session")

    second, bodies = connection.channel(), []
    own = second.queue_declare("", exclusive=True).queue
    second.basic_consume(own, callback=lambda message: bodies.append(message.body), no_ack=True, consumer_tag="itself")
    second.basic_publish_confirm(amqp.Message("to itself"), "", own)
    broker.eventually(lambda: bodies or connection.drain_events(timeout=broker.PATIENCE))
    assert bodies == ["to itself"]
    with pytest.raises(amqp.NotFound):
        second.queue_declare("session.py-amqp.none", passive=True)

    channel.queue_purge(queue)
    channel.queue_unbind(queue, exchange, "key.#")
    channel.queue_delete(queue)
    channel.exchange_delete(exchange)
    channel.close()
    connection.close()
