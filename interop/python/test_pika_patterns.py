"""pika: the patterns applications are made of: work queue, publish/subscribe, routing, topics, headers, RPC."""

import socket
import threading
import uuid

import pika
import pytest

import broker


def bound_queue(channel, exchange, *keys, arguments=None):
    """An exclusive queue bound to the exchange by each of the keys."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    for key in keys:
        channel.queue_bind(queue, exchange, key, arguments)
    return queue


def drain(channel, queue, last):
    """The bodies of a queue up to `last`, which the test publishes at the end and every queue gets."""
    bodies = []
    for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=broker.PATIENCE):
        assert method, f"{last} did not come, only {bodies}"
        if body.decode() == last:
            break
        bodies.append(body.decode())
    channel.cancel()
    return bodies


def test_work_queue_with_fair_dispatch(connect, shared_queue):
    """With prefetch 1 a worker that is busy gets nothing more, and an idle one takes the rest."""
    queue = shared_queue(durable=True)
    slow, fast, boss = connect().channel(), connect().channel(), connect().channel()
    done = []

    def worker(name, acks):
        def work(channel, method, _properties, body):
            done.append((name, body.decode()))
            if acks:
                channel.basic_ack(method.delivery_tag)

        return work

    slow.basic_qos(prefetch_count=1)
    slow.basic_consume(queue, worker("slow", acks=False))
    boss.basic_publish("", queue, "long", pika.BasicProperties(delivery_mode=2))
    broker.eventually(lambda: slow.connection.process_data_events(0.05) or done)

    fast.basic_qos(prefetch_count=1)
    fast.basic_consume(queue, worker("fast", acks=True))
    for number in range(10):
        boss.basic_publish("", queue, str(number), pika.BasicProperties(delivery_mode=2))
    broker.eventually(lambda: fast.connection.process_data_events(0.05) or len(done) == 11)
    slow.connection.process_data_events(0.2)
    assert done == [("slow", "long")] + [("fast", str(number)) for number in range(10)]


def test_a_worker_that_dies_leaves_its_task_to_another(connect, shared_queue):
    queue = shared_queue(durable=True)
    boss = connect().channel()
    boss.basic_publish("", queue, "task")
    dying = pika.BlockingConnection(broker.parameters())
    next(dying.channel().consume(queue))
    dying._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    method, _, body = broker.eventually(lambda: (got := boss.basic_get(queue))[0] and got)
    assert (body, method.redelivered) == (b"task", True)


def test_publish_subscribe(connect, exchange):
    logs = exchange("fanout")
    first, second, publisher = connect().channel(), connect().channel(), connect().channel()
    queues = [bound_queue(channel, logs, "") for channel in (first, second)]
    for body in ("a", "b", "end"):
        publisher.basic_publish(logs, "ignored", body)
    assert drain(first, queues[0], "end") == ["a", "b"]
    assert drain(second, queues[1], "end") == ["a", "b"]


def test_routing(channel, exchange):
    logs = exchange("direct")
    errors = bound_queue(channel, logs, "error", "end")
    everything = bound_queue(channel, logs, "info", "warning", "error", "end")
    for key in ("info", "error", "warning", "debug", "end"):
        channel.basic_publish(logs, key, key)
    assert drain(channel, errors, "end") == ["error"]
    assert drain(channel, everything, "end") == ["info", "error", "warning"]


TOPICS = [
    ("*.orange.*", ["quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox"]),
    ("*.*.rabbit", ["quick.orange.rabbit", "lazy.pink.rabbit"]),
    (
        "lazy.#",
        ["lazy.orange.elephant", "lazy.brown.fox", "lazy.pink.rabbit", "lazy.orange.new.rabbit", "lazy"],
    ),
    ("#", None),
    ("#.rabbit", ["quick.orange.rabbit", "lazy.pink.rabbit", "lazy.orange.new.rabbit"]),
    ("*", ["orange", "lazy"]),
    ("lazy.#.rabbit", ["lazy.pink.rabbit", "lazy.orange.new.rabbit"]),
    (
        "#.orange.#",
        [
            "quick.orange.rabbit",
            "lazy.orange.elephant",
            "quick.orange.fox",
            "orange",
            "lazy.orange.new.rabbit",
        ],
    ),
    ("quick", []),
]
KEYS = [
    "quick.orange.rabbit",
    "lazy.orange.elephant",
    "quick.orange.fox",
    "lazy.brown.fox",
    "lazy.pink.rabbit",
    "quick.brown.fox",
    "orange",
    "lazy.orange.new.rabbit",
    "lazy",
    "",
]


@pytest.mark.parametrize("pattern, expected", TOPICS, ids=[pattern for pattern, _ in TOPICS])
def test_topics(channel, exchange, pattern, expected):
    logs = exchange("topic")
    queue = bound_queue(channel, logs, pattern, "end.of.test")
    for key in [*KEYS, "end.of.test"]:
        channel.basic_publish(logs, key, key or "(empty)")
    channel.queue_unbind(queue, logs, pattern)
    for key in KEYS:
        channel.basic_publish(logs, key, "after unbind")
    channel.basic_publish("", queue, "end")
    got = [body for body in drain(channel, queue, "end") if body != "end.of.test"]
    assert got == (
        ["(empty)" if key == "" else key for key in KEYS]
        if expected is None
        else sorted(expected, key=KEYS.index)
    )


HEADERS = [
    ({"x-match": "all", "format": "pdf", "type": "report"}, ["both"]),
    ({"format": "pdf", "type": "report"}, ["both"]),
    ({"x-match": "any", "format": "pdf", "type": "report"}, ["both", "format only", "type only"]),
    ({"x-match": "all", "pages": 3}, ["number"]),
    ({"x-match": "all"}, ["both", "format only", "type only", "number", "nothing", "no headers"]),
    ({"x-match": "any", "format": "zip"}, []),
]


@pytest.mark.parametrize(
    "arguments, expected", HEADERS, ids=lambda value: None if isinstance(value, list) else str(value)
)
def test_headers_exchange(channel, exchange, arguments, expected):
    documents = exchange("headers")
    queue = bound_queue(channel, documents, "ignored", arguments=arguments)
    for body, headers in [
        ("both", {"format": "pdf", "type": "report", "more": 1}),
        ("format only", {"format": "pdf", "type": "log"}),
        ("type only", {"type": "report"}),
        ("number", {"pages": 3}),
        ("nothing", {"format": "txt"}),
        ("no headers", None),
    ]:
        channel.basic_publish(documents, "", body, pika.BasicProperties(headers=headers))
    channel.basic_publish("", queue, "end")
    assert drain(channel, queue, "end") == expected


def test_exchange_to_exchange_binding(channel, exchange):
    source, destination = exchange("topic"), exchange("fanout")
    channel.exchange_bind(destination, source, "a.#")
    queue = bound_queue(channel, destination, "")
    for key in ("a.b", "b.a", "a"):
        channel.basic_publish(source, key, key)
    channel.exchange_unbind(destination, source, "a.#")
    channel.basic_publish(source, "a.c", "after unbind")
    channel.basic_publish("", queue, "end")
    assert drain(channel, queue, "end") == ["a.b", "a"]


def test_alternate_exchange_takes_what_has_no_route(channel, exchange):
    fallback = exchange("fanout")
    main = exchange("direct", arguments={"alternate-exchange": fallback})
    routed, unrouted = bound_queue(channel, main, "known"), bound_queue(channel, fallback, "")
    for key in ("known", "unknown"):
        channel.basic_publish(main, key, key)
    for queue in (routed, unrouted):
        channel.basic_publish("", queue, "end")
    assert drain(channel, routed, "end") == ["known"]
    assert drain(channel, unrouted, "end") == ["unknown"]


def test_sender_selected_routes(channel, exchange):
    """`CC` and `BCC` name more routing keys; the receiver sees only the first of the two headers."""
    letters = exchange("direct")
    queues = {key: bound_queue(channel, letters, key) for key in ("to", "copy", "hidden", "other")}
    headers = {"CC": ["copy"], "BCC": ["hidden"], "more": 1}
    channel.basic_publish(letters, "to", "letter", pika.BasicProperties(headers=headers))
    for key in ("to", "copy", "hidden"):
        method, properties, body = broker.eventually(
            lambda: (got := channel.basic_get(queues[key]))[0] and got
        )
        assert (method.routing_key, body) == ("to", b"letter")
        assert properties.headers == {"CC": ["copy"], "more": 1}
    assert channel.basic_get(queues["other"])[0] is None


def test_a_message_reaches_a_queue_once_however_many_bindings_match(channel, exchange):
    logs = exchange("topic")
    queue = bound_queue(channel, logs, "a.*", "*.b", "#")
    channel.basic_publish(logs, "a.b", "once")
    channel.basic_publish("", queue, "end")
    assert drain(channel, queue, "end") == ["once"]


def test_rpc(connect, shared_queue):
    """A server in another thread answers to the callback queue that each request names."""
    requests = shared_queue()
    server = connect()

    def serve():
        channel = server.channel()
        channel.basic_qos(prefetch_count=1)
        for method, properties, body in channel.consume(requests):
            answer = str(int(body) ** 2)
            channel.basic_publish(
                "",
                properties.reply_to,
                answer,
                pika.BasicProperties(correlation_id=properties.correlation_id),
            )
            channel.basic_ack(method.delivery_tag)
            if body == b"0":
                break
        server.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    client = connect()
    channel = client.channel()
    callback_queue = channel.queue_declare("", exclusive=True).method.queue
    answers = {}
    channel.basic_consume(
        callback_queue,
        lambda _, __, properties, body: answers.update({properties.correlation_id: body}),
        auto_ack=True,
    )

    def call(number):
        request = str(uuid.uuid4())
        channel.basic_publish(
            "", requests, str(number), pika.BasicProperties(reply_to=callback_queue, correlation_id=request)
        )
        broker.eventually(lambda: client.process_data_events(0.05) or request in answers)
        return int(answers.pop(request))

    assert [call(number) for number in (3, 7, 12, 0)] == [9, 49, 144, 0]
    thread.join(broker.PATIENCE)
    assert not thread.is_alive()
