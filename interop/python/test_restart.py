"""A restart of the broker: what it has kept, and what each client makes of it. pika connects again by hand, aio-pika and kombu
by themselves."""

import asyncio

import aio_pika
import kombu
import pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ConnectionClosedByBroker

import broker
import own_broker
from broker import asynchronous, until

pytestmark = [own_broker.needed, pytest.mark.parametrize("verb", ["stop", "kill"])]

BODIES = [b"a", b"b", b"c"]


def test_pika(verb):
    with own_broker.started(f"pika-{verb}") as own:
        channel = pika.BlockingConnection(pika.URLParameters(own.url)).channel()
        channel.queue_declare("kept", durable=True)
        fleeting = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        for body in BODIES:
            channel.basic_publish("", "kept", body, pika.BasicProperties(delivery_mode=2), mandatory=True)
        channel.basic_consume(fleeting, lambda *_: None)
        own.run(verb)
        with pytest.raises(ConnectionClosedByBroker if verb == "stop" else AMQPConnectionError) as end:
            broker.eventually(lambda: channel.connection.process_data_events(0.05))
        if verb == "stop":
            assert end.value.reply_code == 320
        own.run("start")

        with pika.BlockingConnection(pika.URLParameters(own.url)) as connection:
            again = connection.channel()
            got = []
            again.basic_consume("kept", lambda _, __, ___, body: got.append(body), auto_ack=True)
            again.basic_publish("", "kept", b"after")
            broker.eventually(lambda: connection.process_data_events(0.05) or len(got) == 4)
            assert got == [*BODIES, b"after"]
            with pytest.raises(ChannelClosedByBroker) as gone:
                connection.channel().queue_declare(fleeting, passive=True)
            assert gone.value.reply_code == 404


@asynchronous
async def test_aio_pika_robust(verb):
    with own_broker.started(f"aio-pika-{verb}") as own:
        connection = await aio_pika.connect_robust(own.url, reconnect_interval=0.1)
        reconnected = asyncio.Event()
        connection.reconnect_callbacks.add(lambda *_: reconnected.set())
        async with connection:
            channel = await connection.channel()
            kept = await channel.declare_queue("kept", durable=True)
            for body in BODIES:
                message = Message(body, delivery_mode=DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(message, "kept")
            exchange = await channel.declare_exchange("logs", ExchangeType.FANOUT)
            fleeting = await channel.declare_queue(exclusive=True)
            await fleeting.bind(exchange)
            got = []

            async def receive(message):
                got.append(message.body)

            await fleeting.consume(receive, no_ack=True)
            await exchange.publish(Message(b"before"), "")
            await until(lambda: got == [b"before"])
            await asyncio.to_thread(own.run, verb)
            await asyncio.to_thread(own.run, "start")
            await reconnected.wait()
            await exchange.publish(Message(b"after"), "")
            await until(lambda: got == [b"before", b"after"])
            assert [(await kept.get(no_ack=True)).body for _ in BODIES] == BODIES


def test_kombu(verb):
    with own_broker.started(f"kombu-{verb}") as own, kombu.Connection(own.url, transport_options={"confirm_publish": True}) as connection:
        queue = kombu.Queue("kept", durable=True)
        got = []
        with connection.Producer() as producer:
            for body in BODIES:
                producer.publish(body.decode(), routing_key="kept", declare=[queue], delivery_mode=2)
            own.run(verb)
            own.run("start")
            # It finds out that its connection has gone, makes another, declares again, and publishes.
            policy = {"max_retries": 20, "interval_start": 0.1, "interval_step": 0.1}
            producer.publish("after", routing_key="kept", declare=[queue], retry=True, retry_policy=policy)
        with connection.Consumer(queue, callbacks=[lambda body, message: got.append(body)], no_ack=True):
            broker.eventually(lambda: connection.drain_events(timeout=broker.PATIENCE) or len(got) == 4)
        assert got == ["a", "b", "c", "after"]
