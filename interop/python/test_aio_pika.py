"""aio-pika: declaring, publishing with confirms, consuming, its patterns, and what its robust connection restores."""

import asyncio
import contextlib
import datetime
import socket

import aio_pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError, QueueEmpty
from aio_pika.patterns import RPC, Master

import broker
from broker import asynchronous, until


@contextlib.asynccontextmanager
async def open_channel(**options):
    connection = await aio_pika.connect(broker.URL)
    async with connection:
        yield await connection.channel(**options)


def into(received, part=lambda message: message):
    """A consumer callback that collects messages, or a part of each."""

    async def receive(message):
        received.append(part(message))

    return receive


@asynchronous
async def test_declare_bind_publish_get():
    async with open_channel() as channel:
        exchange = await channel.declare_exchange(
            broker.unique("topic"), ExchangeType.TOPIC, auto_delete=True
        )
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "a.*")
        confirmation = await exchange.publish(
            Message(b"body", message_id="m1", delivery_mode=DeliveryMode.PERSISTENT), "a.b"
        )
        assert type(confirmation).__name__ == "Ack"
        message = await queue.get(timeout=broker.PATIENCE)
        assert (message.body, message.message_id, message.routing_key, message.exchange) == (
            b"body",
            "m1",
            "a.b",
            exchange.name,
        )
        assert (message.delivery_mode, message.redelivered) == (DeliveryMode.PERSISTENT, False)
        await message.ack()
        await queue.unbind(exchange, "a.*")
        with pytest.raises(QueueEmpty):
            await queue.get()
        assert await queue.get(fail=False) is None


@asynchronous
async def test_iterator():
    async with open_channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        for number in range(500):
            await channel.default_exchange.publish(Message(str(number).encode()), queue.name)
        got = []
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    got.append(int(message.body))
                if len(got) == 500:
                    break
        assert got == list(range(500))
        assert (await queue.delete(if_unused=False, if_empty=False)).message_count == 0


@asynchronous
async def test_many_publishes_at_once_are_all_confirmed():
    async with open_channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        publishes = (
            channel.default_exchange.publish(Message(str(number).encode()), queue.name)
            for number in range(1000)
        )
        assert {type(confirmation).__name__ for confirmation in await asyncio.gather(*publishes)} == {"Ack"}
        assert (await queue.purge()).message_count == 1000


@asynchronous
async def test_unroutable_is_returned():
    """Publishing is mandatory by default here; with `on_return_raises` a return becomes an exception."""
    async with open_channel(on_return_raises=True) as channel:
        nowhere = broker.unique("nowhere")
        with pytest.raises(DeliveryError) as error:
            await channel.default_exchange.publish(Message(b"lost", correlation_id="c1"), nowhere)
        assert error.value.message.header.properties.correlation_id == "c1"
    async with open_channel() as channel:
        confirmation = await channel.default_exchange.publish(Message(b"lost"), nowhere)
        assert confirmation.delivery.reply_text == "NO_ROUTE"


@asynchronous
async def test_headers_and_properties():
    headers = {
        "text": "Grüße",
        "number": 2**40,
        "negative": -5,
        "float": 2.5,
        "yes": True,
        "none": None,
        "bytes": bytearray(b"\x00\xff"),
        "list": [1, "two", {"three": 3}],
        "table": {"inner": {"moment": datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC)}},
    }
    sent = Message(
        b"{}",
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        priority=7,
        correlation_id="c",
        reply_to="r",
        expiration=60,
        message_id="m",
        timestamp=datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        type="t",
        user_id="guest",
        app_id="a",
    )
    async with open_channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(sent, queue.name)
        got = await queue.get(no_ack=True, timeout=broker.PATIENCE)
        assert got.headers == headers
        assert got.info()["expiration"] == sent.info()["expiration"]
        for name in (
            "content_type",
            "content_encoding",
            "priority",
            "correlation_id",
            "reply_to",
            "message_id",
            "timestamp",
            "type",
            "user_id",
            "app_id",
        ):
            assert getattr(got, name) == getattr(sent, name), name


@asynchronous
async def test_reject_and_requeue():
    async with open_channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        for body in (b"a", b"b"):
            await channel.default_exchange.publish(Message(body), queue.name)
        first = await queue.get()
        await first.reject(requeue=True)
        again = await queue.get()
        assert (again.body, again.redelivered) == (b"a", True)
        await again.nack(requeue=False)
        assert (await queue.get()).body == b"b"


@asynchronous
async def test_errors_close_the_channel_only():
    connection = await aio_pika.connect(broker.URL)
    async with connection:
        channel = await connection.channel()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.get_queue(broker.unique("missing"), ensure=True)
        channel = await connection.channel()
        with pytest.raises(ChannelPreconditionFailed):
            await channel.declare_exchange("amq.direct", ExchangeType.FANOUT, durable=True)
        assert not connection.is_closed
        await (await connection.channel()).declare_queue(exclusive=True)


@asynchronous
async def test_prefetch():
    async with open_channel() as channel:
        await channel.set_qos(prefetch_count=3)
        queue = await channel.declare_queue(exclusive=True)
        for number in range(6):
            await channel.default_exchange.publish(Message(str(number).encode()), queue.name)
        got = []
        await queue.consume(into(got))
        await until(lambda: len(got) == 3)
        await asyncio.sleep(0.3)
        assert len(got) == 3
        await got[2].ack(multiple=True)
        await until(lambda: len(got) == 6)
        assert [message.body for message in got] == [b"0", b"1", b"2", b"3", b"4", b"5"]


@asynchronous
async def test_transaction():
    async with open_channel(publisher_confirms=False) as channel:
        queue = await channel.declare_queue(exclusive=True)
        async with channel.transaction():
            await channel.default_exchange.publish(Message(b"committed"), queue.name)
        with pytest.raises(ZeroDivisionError):
            async with channel.transaction():
                await channel.default_exchange.publish(Message(b"rolled back"), queue.name)
                raise ZeroDivisionError
        await until_count(channel, queue, 1)
        assert (await queue.get()).body == b"committed"
        assert await queue.get(fail=False) is None


async def until_count(channel, queue, count):
    while (await channel.declare_queue(queue.name, passive=True)).declaration_result.message_count != count:
        await asyncio.sleep(0.02)


@asynchronous
async def test_rpc_pattern():
    async with open_channel() as server_channel, open_channel() as client_channel:
        server, client = await RPC.create(server_channel), await RPC.create(client_channel)
        name = broker.unique("multiply")

        async def multiply(*, x, y):
            return x * y

        async def fail():
            raise ValueError("on purpose")

        await server.register(name, multiply, auto_delete=True)
        await server.register(f"{name}.fail", fail, auto_delete=True)
        answers = await asyncio.gather(*(client.call(name, kwargs={"x": x, "y": 3}) for x in range(50)))
        assert answers == [3 * x for x in range(50)]
        with pytest.raises(ValueError, match="on purpose"):
            await client.call(f"{name}.fail")
        await client.close()
        await server.close()


@asynchronous
async def test_master_and_worker_pattern():
    async with open_channel() as channel, open_channel() as other:
        name, done = broker.unique("task"), []

        async def work(*, task_id):
            done.append(task_id)

        worker = await Master(channel).create_worker(name, work, auto_delete=True)
        master = Master(other)
        for number in range(20):
            await master.create_task(name, {"task_id": number})
        await until(lambda: len(done) == 20)
        assert done == list(range(20))
        await worker.close()


class Relay:
    """A port of its own that passes bytes on to the broker, until it is cut."""

    async def __aenter__(self):
        self.writers = []
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, family=socket.AF_INET)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def accept(self, reader, writer):
        broker_reader, broker_writer = await asyncio.open_connection(broker.HOST, broker.PORT)
        self.writers += [writer, broker_writer]
        await asyncio.gather(self.copy(reader, broker_writer), self.copy(broker_reader, writer))

    async def copy(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self):
        """Resets every connection without a word of AMQP."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()


@contextlib.asynccontextmanager
async def robust_connection():
    """A relay, a robust connection through it, and the event that is set when it has connected again."""
    async with Relay() as relay:
        connection = await aio_pika.connect_robust(
            f"amqp://guest:guest@127.0.0.1:{relay.port}/", reconnect_interval=0.1
        )
        reconnected = asyncio.Event()
        connection.reconnect_callbacks.add(lambda *_: reconnected.set())
        async with connection:
            yield relay, connection, reconnected


@asynchronous
async def test_robust_connection_restores_queues_bindings_and_consumers():
    async with robust_connection() as (relay, connection, reconnected):
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            broker.unique("fanout"), ExchangeType.FANOUT, auto_delete=True
        )
        queue = await channel.declare_queue(broker.unique("queue"), exclusive=True)
        await queue.bind(exchange)
        got = []
        await queue.consume(into(got, lambda message: message.body), no_ack=True)
        await exchange.publish(Message(b"before"), "")
        await until(lambda: got == [b"before"])
        relay.cut()
        await reconnected.wait()
        await exchange.publish(Message(b"after"), "")
        await until(lambda: got == [b"before", b"after"])


@asynchronous
async def test_robust_consumer_gets_again_what_it_had_not_acked(shared_queue):
    name, got = shared_queue(), []
    async with robust_connection() as (relay, connection, reconnected):
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=2)
        queue = await channel.get_queue(name)
        await queue.consume(into(got, lambda message: (message.body, message.redelivered)))
        async with open_channel() as publisher:
            for body in (b"a", b"b", b"c"):
                await publisher.default_exchange.publish(Message(body), name)
        await until(lambda: len(got) == 2)
        relay.cut()
        await reconnected.wait()
        await until(lambda: len(got) == 4)
    assert got == [(b"a", False), (b"b", False), (b"a", True), (b"b", True)]
