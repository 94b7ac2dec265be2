"""pika: bodies of every size and properties of every type come out as they went in."""

import datetime
import decimal
import hashlib
import struct

import pika
import pytest

import broker

MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.UTC)

PROPERTIES = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "headers": {
        "string": "Grüße",
        "empty": "",
        "long string": "x" * 1000,
        "bytes": b"\x00\xff\x80",
        "true": True,
        "false": False,
        "small": 1,
        "negative": -(2**31),
        "large": 2**62,
        "decimal": decimal.Decimal("3.14"),
        "moment": MOMENT,
        "nothing": None,
        "table": {"inner": {"innermost": {"key": ["a", {"b": None}]}}, "": "a key without a name"},
        "empty table": {},
        "array": [1, "two", b"three", None, True, [2, [3, []]], {"four": 4}, MOMENT],
        "empty array": [],
    },
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "correlation",
    "reply_to": "reply.queue",
    "expiration": "60000",
    "message_id": "message",
    "timestamp": 1709209815,
    "type": "kind",
    "user_id": "guest",
    "app_id": "application",
    "cluster_id": "cluster",
}


def round_trip(channel, queue, body, properties=None):
    """Publishes, and gets back (properties, body)."""
    channel.basic_publish("", queue, body, properties)
    method, properties, body = broker.eventually(
        lambda: (got := channel.basic_get(queue, auto_ack=True))[0] and got
    )
    return properties, body


def test_all_fourteen_properties(channel, queue):
    sent = pika.BasicProperties(**PROPERTIES)
    assert len(PROPERTIES) == 14
    got, body = round_trip(channel, queue, b"body", sent)
    assert {name: getattr(got, name) for name in PROPERTIES} == PROPERTIES
    assert list(got.headers) == list(PROPERTIES["headers"])
    assert body == b"body"


@pytest.mark.parametrize("name", PROPERTIES)
def test_one_property_alone(channel, queue, name):
    got, _ = round_trip(channel, queue, b"", pika.BasicProperties(**{name: PROPERTIES[name]}))
    assert {key: getattr(got, key) for key in PROPERTIES} == {
        key: PROPERTIES[key] if key == name else None for key in PROPERTIES
    }


def test_no_properties(channel, queue):
    got, _ = round_trip(channel, queue, b"body")
    assert all(getattr(got, name) is None for name in PROPERTIES)


# Every type of a field table that RabbitMQ knows, as bytes: pika itself writes only some of them.
FIELDS = {
    "t": b"t\x01",
    "b": b"b" + struct.pack(">b", -100),
    "B": b"B" + struct.pack(">B", 200),
    "s": b"s" + struct.pack(">h", -30000),
    "u": b"u" + struct.pack(">H", 60000),
    "I": b"I" + struct.pack(">i", -(2**31)),
    "i": b"i" + struct.pack(">I", 2**32 - 1),
    "l": b"l" + struct.pack(">q", -(2**63)),
    "f": b"f" + struct.pack(">f", 1.5),
    "d": b"d" + struct.pack(">d", -2.5),
    "D": b"D" + struct.pack(">Bi", 2, -314),
    "S": b"S" + struct.pack(">I", 3) + b"\xff\x00x",
    "x": b"x" + struct.pack(">I", 3) + b"\x00\x01\x02",
    "T": b"T" + struct.pack(">Q", 1709209815),
    "V": b"V",
    "A": b"A" + struct.pack(">I", 3) + b"t\x00V",
    "F": b"F" + struct.pack(">I", 4) + b"\x02inV",
}


def table(entries):
    """The bytes of a field table."""
    body = b"".join(struct.pack("B", len(name)) + name.encode() + value for name, value in entries)
    return struct.pack(">I", len(body)) + body


class RawHeaders(pika.BasicProperties):
    """Properties that are one header table, given as bytes."""

    def __init__(self, headers):
        super().__init__()
        self.raw = struct.pack(">H", pika.BasicProperties.FLAG_HEADERS) + headers

    def encode(self):
        return [self.raw]


@pytest.mark.parametrize("kind", [*FIELDS, "all, nested"])
def test_table_fields_are_passed_on_byte_for_byte(monkeypatch, channel, queue, kind):
    if kind in FIELDS:
        headers = table([("key", FIELDS[kind])])
    else:
        everything = table((f"key {kind}", value) for kind, value in FIELDS.items())
        nested = table(
            [("deep", b"F" + table([("deeper", b"F" + everything)])), ("again", b"F" + everything)]
        )
        headers = table(
            [
                ("z last in the alphabet, first here", b"V"),
                ("nested", b"F" + nested),
                ("twice", b"V"),
                ("twice", b"t\x01"),
            ]
        )
    received = []
    decode = pika.BasicProperties.decode

    def keep_and_decode(self, encoded, offset=0):
        received.append(bytes(encoded[offset:]))
        return decode(self, encoded, offset)

    monkeypatch.setattr(pika.BasicProperties, "decode", keep_and_decode)
    sent = RawHeaders(headers)
    round_trip(channel, queue, b"", sent)
    assert received == [sent.raw]


SIZES = [0, 1, 16, 4087, 4088, 4089, 131063, 131064, 131065, 262128, 1_500_000, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_body_sizes(channel, queue, size):
    body = bytes(i * 31 % 251 for i in range(min(size, 4096))) * (size // 4096 + 1)
    _, got = round_trip(channel, queue, body[:size])
    assert (len(got), hashlib.sha256(got).hexdigest()) == (size, hashlib.sha256(body[:size]).hexdigest())


def test_small_frames_carry_a_large_body(connect):
    """1 MB in frames of 4096 bytes both ways, between small messages that keep their places."""
    channel = connect(frame_max=4096).channel()
    assert channel.connection._impl.params.frame_max == 4096
    queue = channel.queue_declare("", exclusive=True).method.queue
    bodies = [b"before", bytes(range(256)) * 4096, b"after"]
    for body in bodies:
        channel.basic_publish("", queue, body)
    got = []
    for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=broker.PATIENCE):
        assert method, "the messages did not come"
        got.append(body)
        if len(got) == 3:
            break
    assert got == bodies


def test_frames_of_two_sizes_on_one_queue(connect, shared_queue):
    """A body published in frames of 131072 bytes reaches a consumer with frames of 4096."""
    queue, body = shared_queue(), bytes(range(251)) * 4000
    connect().channel().basic_publish("", queue, body)
    reader = connect(frame_max=4096).channel()
    method, _, got = broker.eventually(lambda: (got := reader.basic_get(queue, auto_ack=True))[0] and got)
    assert got == body


def test_names_and_keys_at_their_limits(channel):
    name = broker.unique("x" * 200).ljust(255, "y")
    assert channel.queue_declare(name, exclusive=True).method.queue == name
    _, body = round_trip(channel, name, b"long")
    assert body == b"long"
    channel.exchange_declare(name, "topic", auto_delete=True)
    key = "ключ.\u20ac." + "z" * 200
    channel.queue_bind(name, name, key)
    channel.basic_publish(name, key, b"key")
    method, _, _ = broker.eventually(lambda: (got := channel.basic_get(name))[0] and got)
    assert (method.exchange, method.routing_key) == (name, key)
