"""The steps of the seeds' listings as tests of our own: fixed names replaced, results checked instead of printed.

Listing 001 speaks HTTP and has no steps in AMQP. Listing 004 goes on with Celery: `test_celery.py`.
"""

import json

import pika
import pytest

import broker


@pytest.fixture
def hello(shared_queue):
    """The queue `hello` of the listings, neither durable nor exclusive nor auto-delete, by another name."""
    return shared_queue()


def produce(queue, *bodies, close=True):
    """A producer as in the listings: connect, declare, publish without confirms, and close or just leave."""
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    assert channel.queue_declare(queue=queue).method.queue == queue
    for body in bodies:
        channel.basic_publish(exchange="", routing_key=queue, body=body)
    if close:
        connection.close()
    else:
        # RabbitMQ itself forgets what it has read but not yet handled when a connection is lost at once.
        connection.sleep(0.3)
        connection._impl._transport.abort()


def consume(connect, queue, count):
    """A consumer as the listings have it, stopped after `count` messages: their bodies."""
    channel = connect().channel()
    channel.queue_declare(queue=queue)
    bodies = []

    def callback(ch, _method, _properties, body):
        bodies.append(body)
        if len(bodies) == count:
            ch.stop_consuming()

    channel.basic_consume(queue=queue, auto_ack=True, on_message_callback=callback)
    channel.start_consuming()
    return bodies


def test_000_json_from_a_producer_that_leaves_without_closing(connect, hello):
    people = [{"name": "John"}, {"name": "Jane"}]
    produce(hello, *map(json.dumps, people), close=False)
    assert [json.loads(body) for body in consume(connect, hello, 2)] == people


def test_002_003_004_hello_world(connect, hello):
    produce(hello, "Hello World!")
    assert consume(connect, hello, 1) == [b"Hello World!"]


def test_consumer_that_is_there_first(connect, hello):
    channel = connect().channel()
    channel.queue_declare(queue=hello)
    bodies = []
    channel.basic_consume(
        queue=hello, auto_ack=True, on_message_callback=lambda _, __, ___, body: bodies.append(body)
    )
    produce(hello, "Hello World!")
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or bodies)
    assert bodies == [b"Hello World!"]


def test_messages_wait_for_a_consumer_in_the_order_of_their_producers(connect, hello):
    for number in range(5):
        produce(hello, f"{number} a", f"{number} b")
    assert consume(connect, hello, 10) == [
        f"{number} {letter}".encode() for number in range(5) for letter in "ab"
    ]


def test_003_priority_as_it_is_meant(connect):
    """`x-max-priority` on the queue, `priority` in the properties: World has 0, Hello has 1 and comes first."""
    queue = broker.unique("priority_queue")
    channel = connect().channel()
    channel.queue_declare(queue=queue, auto_delete=True, arguments={"x-max-priority": 1})
    channel.confirm_delivery()
    for body, priority in [("World", 0), ("Hello", 1)]:
        channel.basic_publish(
            exchange="", routing_key=queue, body=body, properties=pika.BasicProperties(priority=priority)
        )
    bodies = []
    channel.basic_consume(
        queue, lambda _, __, properties, body: bodies.append((properties.priority, body)), auto_ack=True
    )
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or len(bodies) == 2)
    assert bodies == [(1, b"Hello"), (0, b"World")]


def test_003_a_queue_nobody_consumed_from_is_not_auto_deleted(connect):
    queue = broker.unique("priority_queue")
    produce_once = connect().channel()
    produce_once.queue_declare(queue=queue, auto_delete=True)
    produce_once.connection.close()
    probe = connect().channel()
    assert probe.queue_declare(queue, passive=True).method.message_count == 0
    probe.queue_delete(queue)
