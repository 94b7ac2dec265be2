"""pika: the asyncio adapter, where everything is a callback and many requests are under way at once."""

import asyncio

import pika
import pytest
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByClient

import broker
from broker import asynchronous, until


class Client:
    """A connection whose callbacks are futures."""

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        opened, self.closed = loop.create_future(), loop.create_future()
        self.connection = AsyncioConnection(
            broker.parameters(),
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda _, error: opened.set_exception(error),
            on_close_callback=lambda _, reason: self.closed.set_result(reason),
        )
        await opened
        return self

    async def __aexit__(self, *_):
        if self.connection.is_open:
            self.connection.close()
        await self.closed

    async def channel(self):
        opened = asyncio.get_running_loop().create_future()
        self.connection.channel(on_open_callback=opened.set_result)
        return await opened


async def ask(method, *arguments, **options):
    """Calls a method of a channel that takes a callback, and returns what the callback gets."""
    answer = asyncio.get_running_loop().create_future()
    method(*arguments, callback=answer.set_result, **options)
    return await answer


@asynchronous
async def test_publish_and_consume():
    async with Client() as client:
        channel = await client.channel()
        queue = (await ask(channel.queue_declare, "", exclusive=True)).method.queue
        exchange = broker.unique("direct")
        await ask(channel.exchange_declare, exchange, "direct", auto_delete=True)
        await ask(channel.queue_bind, queue, exchange, "key")
        got = []

        def receive(channel, method, _properties, body):
            got.append((method.delivery_tag, int(body)))
            channel.basic_ack(method.delivery_tag)

        tag = channel.basic_consume(queue, receive)
        for number in range(2000):
            channel.basic_publish(exchange, "key", str(number))
        await until(lambda: len(got) == 2000)
        assert got == [(number + 1, number) for number in range(2000)]
        assert (await ask(channel.basic_cancel, tag)).method.consumer_tag == tag
        assert (await ask(channel.queue_delete, queue)).method.message_count == 0


@asynchronous
async def test_pipelined_publishes_are_all_confirmed():
    """Confirms may come one by one or many at once; together they name every publish exactly once."""
    async with Client() as client:
        channel = await client.channel()
        queue = (await ask(channel.queue_declare, "", exclusive=True)).method.queue
        unconfirmed, refused = set(range(1, 2001)), []

        def confirmed(frame):
            method = frame.method
            tags = (
                {tag for tag in unconfirmed if tag <= method.delivery_tag}
                if method.multiple
                else {method.delivery_tag}
            )
            assert tags <= unconfirmed
            unconfirmed.difference_update(tags)
            if isinstance(method, pika.spec.Basic.Nack):
                refused.append(method.delivery_tag)

        await ask(channel.confirm_delivery, confirmed)
        for number in range(2000):
            channel.basic_publish("", queue, str(number), pika.BasicProperties(delivery_mode=1 + number % 2))
        await until(lambda: not unconfirmed)
        assert refused == []
        assert (await ask(channel.queue_declare, queue, passive=True)).method.message_count == 2000


@asynchronous
async def test_the_return_comes_before_its_confirm():
    async with Client() as client:
        channel = await client.channel()
        events = []
        channel.add_on_return_callback(
            lambda _, method, __, body: events.append(("return", method.reply_code, body))
        )
        await ask(channel.confirm_delivery, lambda frame: events.append(("ack", frame.method.delivery_tag)))
        channel.basic_publish("", broker.unique("nowhere"), "first", mandatory=True)
        await until(lambda: len(events) == 2)
        assert events == [("return", 312, b"first"), ("ack", 1)]


@asynchronous
async def test_many_declares_at_once():
    async with Client() as client:
        channel = await client.channel()
        names = [broker.unique("pipelined") for _ in range(100)]
        answers = await asyncio.gather(*(ask(channel.queue_declare, name, exclusive=True) for name in names))
        assert [answer.method.queue for answer in answers] == names


@asynchronous
async def test_a_closed_channel_tells_why_and_leaves_the_others():
    async with Client() as client:
        bad, good = await client.channel(), await client.channel()
        reason = asyncio.get_running_loop().create_future()
        bad.add_on_close_callback(lambda _, error: reason.set_result(error))
        missing = broker.unique("missing")
        bad.queue_declare(missing, passive=True)
        error = await reason
        assert isinstance(error, ChannelClosedByBroker)
        assert (error.reply_code, error.reply_text) == (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'")
        assert (await ask(good.queue_declare, "", exclusive=True)).method.message_count == 0


@asynchronous
async def test_deleting_a_queue_cancels_its_consumer():
    async with Client() as client:
        channel, other = await client.channel(), await client.channel()
        queue = (await ask(channel.queue_declare, broker.unique("cancelled"), exclusive=True)).method.queue
        cancelled = asyncio.get_running_loop().create_future()
        channel.add_on_cancel_callback(lambda frame: cancelled.set_result(frame.method.consumer_tag))
        tag = channel.basic_consume(queue, print)
        await ask(other.queue_delete, queue)
        assert await cancelled == tag
        assert channel.is_open


@asynchronous
async def test_consumers_on_several_channels_share_a_queue():
    async with Client() as client:
        publisher = await client.channel()
        queue = (await ask(publisher.queue_declare, "", exclusive=True)).method.queue
        got = []
        for number in range(4):
            channel = await client.channel()
            await ask(channel.basic_qos, prefetch_count=5)

            def receive(channel, method, _properties, body, number=number):
                got.append((number, int(body)))
                channel.basic_ack(method.delivery_tag)

            channel.basic_consume(queue, receive)
        for number in range(400):
            publisher.basic_publish("", queue, str(number))
        await until(lambda: len(got) == 400)
        assert sorted(body for _, body in got) == list(range(400))
        assert {number for number, _ in got} == {0, 1, 2, 3}


@asynchronous
async def test_closing_the_connection():
    client = Client()
    async with client:
        await client.channel()
    assert isinstance(client.closed.result(), ConnectionClosedByClient)


@pytest.mark.parametrize("size", [100_000, 2_000_000])
@asynchronous
async def test_large_bodies_both_ways_at_once(size):
    async with Client() as client:
        channel = await client.channel()
        queue = (await ask(channel.queue_declare, "", exclusive=True)).method.queue
        got = []
        channel.basic_consume(queue, lambda _, __, ___, body: got.append(body), auto_ack=True)
        bodies = [bytes([number]) * size for number in range(10)]
        for body in bodies:
            channel.basic_publish("", queue, body)
        await until(lambda: len(got) == 10)
        assert got == bodies
