"""pika: what a queue does with get, ack, nack, reject, requeue, recover, tx and consumers."""

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker

import broker


def fill(channel, queue, *bodies):
    """Publishes the bodies and returns when the queue has them all."""
    for body in bodies:
        channel.basic_publish("", queue, body)
    broker.eventually(lambda: depth(channel, queue) == len(bodies))


def depth(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def get(channel, queue, auto_ack=False):
    """(delivery tag, body, redelivered) of the next message, or None."""
    method, _, body = channel.basic_get(queue, auto_ack=auto_ack)
    return method and (method.delivery_tag, body.decode(), method.redelivered)


def take(channel, queue, count, **arguments):
    """The next `count` deliveries of a new consumer, which is then cancelled, as (tag, body, redelivered)."""
    taken = []
    tag = channel.basic_consume(
        queue,
        lambda _, method, __, body: taken.append((method.delivery_tag, body.decode(), method.redelivered)),
        **arguments,
    )
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or len(taken) >= count)
    channel.basic_cancel(tag)
    return taken


def test_get_returns_messages_in_order_and_counts_what_is_left(channel, queue):
    fill(channel, queue, "a", "b", "c")
    left = []
    for body in (b"a", b"b", b"c"):
        method, _, got = channel.basic_get(queue, auto_ack=True)
        assert (got, method.exchange, method.routing_key, method.redelivered) == (body, "", queue, False)
        left.append(method.message_count)
    assert left == [2, 1, 0]
    assert channel.basic_get(queue) == (None, None, None)


def test_unacked_messages_are_not_ready(channel, queue):
    fill(channel, queue, "a", "b")
    get(channel, queue)
    assert depth(channel, queue) == 1


def test_ack_multiple_settles_all_up_to_the_tag(connect, shared_queue):
    channel, queue = connect().channel(), shared_queue()
    fill(channel, queue, "a", "b", "c")
    tags = [get(channel, queue)[0] for _ in range(3)]
    assert tags == [1, 2, 3]
    channel.basic_ack(2, multiple=True)
    channel.close()
    other = connect().channel()
    assert broker.eventually(lambda: get(other, queue)) == (1, "c", True)
    assert get(other, queue) is None


@pytest.mark.parametrize("give_back", ["nack", "reject"])
def test_requeue_goes_back_to_the_original_place(channel, queue, give_back):
    fill(channel, queue, "a", "b", "c")
    first, second = get(channel, queue), get(channel, queue)
    refuse = channel.basic_nack if give_back == "nack" else channel.basic_reject
    refuse(second[0], requeue=True)
    refuse(first[0], requeue=True)
    broker.eventually(lambda: depth(channel, queue) == 3)
    assert [get(channel, queue)[1:] for _ in range(3)] == [("a", True), ("b", True), ("c", False)]


def test_nack_multiple_requeues_in_order(channel, queue):
    fill(channel, queue, "a", "b", "c", "d")
    tags = [get(channel, queue)[0] for _ in range(3)]
    channel.basic_nack(tags[-1], multiple=True, requeue=True)
    broker.eventually(lambda: depth(channel, queue) == 4)
    assert [get(channel, queue)[1] for _ in range(4)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("give_back", ["nack", "reject"])
def test_refused_without_requeue_is_gone(channel, queue, give_back):
    fill(channel, queue, "a", "b")
    tag = get(channel, queue)[0]
    refuse = channel.basic_nack if give_back == "nack" else channel.basic_reject
    refuse(tag, requeue=False)
    assert get(channel, queue)[1] == "b"
    assert get(channel, queue) is None


def test_recover_redelivers_what_is_unacked(channel, queue):
    fill(channel, queue, "a", "b")
    get(channel, queue), get(channel, queue)
    channel.basic_recover(requeue=True)
    assert [get(channel, queue)[1:] for _ in range(2)] == [("a", True), ("b", True)]


def test_closing_a_channel_requeues_what_it_had_not_acked(connection, channel, queue):
    fill(channel, queue, "a", "b", "c")
    reader = connection.channel()
    get(reader, queue), get(reader, queue)
    reader.close()
    broker.eventually(lambda: depth(channel, queue) == 3)
    assert [get(channel, queue)[1:] for _ in range(3)] == [("a", True), ("b", True), ("c", False)]


def test_purge_counts_ready_messages_only(channel, queue):
    fill(channel, queue, "a", "b", "c")
    tag = get(channel, queue)[0]
    assert channel.queue_purge(queue).method.message_count == 2
    channel.basic_nack(tag, requeue=True)
    assert broker.eventually(lambda: get(channel, queue))[1] == "a"


def test_delete_returns_the_message_count(channel, queue):
    fill(channel, queue, "a", "b")
    assert channel.queue_delete(queue).method.message_count == 2


def test_prefetch_limits_unacked_deliveries(channel, queue):
    fill(channel, queue, *"abcd")
    channel.basic_qos(prefetch_count=2)
    got = []
    channel.basic_consume(queue, lambda _, method, __, body: got.append((method.delivery_tag, body)))
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= 2)
    channel.connection.process_data_events(0.3)
    assert [body for _, body in got] == [b"a", b"b"]
    channel.basic_ack(got[0][0])
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= 3)
    channel.connection.process_data_events(0.3)
    assert [body for _, body in got] == [b"a", b"b", b"c"]


def test_global_prefetch_is_shared_by_the_consumers_of_a_channel(channel, queue):
    fill(channel, queue, *"abcdef")
    channel.basic_qos(prefetch_count=3, global_qos=True)
    got = []
    for _ in range(2):
        channel.basic_consume(queue, lambda _, method, __, body: got.append(body))
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= 3)
    channel.connection.process_data_events(0.3)
    assert sorted(got) == [b"a", b"b", b"c"]


def test_consumers_of_a_queue_take_turns(channel, queue):
    got = {"one": [], "two": []}
    for tag, bodies in got.items():
        channel.basic_consume(
            queue,
            lambda _, __, ___, body, bodies=bodies: bodies.append(body),
            consumer_tag=tag,
            auto_ack=True,
        )
    for number in range(10):
        channel.basic_publish("", queue, str(number))
    broker.eventually(
        lambda: channel.connection.process_data_events(0.05) or sum(map(len, got.values())) == 10
    )
    assert {tag: len(bodies) for tag, bodies in got.items()} == {"one": 5, "two": 5}


def test_cancel_keeps_prefetched_messages_unacked_until_the_channel_closes(connection, channel, queue):
    fill(channel, queue, "a", "b")
    reader = connection.channel()
    assert [body for _, body, _ in take(reader, queue, 2)] == ["a", "b"]
    assert depth(channel, queue) == 0
    reader.close()
    broker.eventually(lambda: depth(channel, queue) == 2)


def test_generator_consumer_with_inactivity_timeout(channel, queue):
    fill(channel, queue, "a", "b")
    seen = []
    for method, _, body in channel.consume(queue, inactivity_timeout=0.5):
        if method is None:
            break
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
    assert seen == [b"a", b"b"]
    assert channel.cancel() == 0


def test_deleting_a_queue_cancels_its_consumers(connect, shared_queue):
    queue = shared_queue()
    channel, cancelled = connect().channel(), []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume(queue, lambda *_: None, consumer_tag="told")
    connect().channel().queue_delete(queue)
    broker.eventually(lambda: channel.connection.process_data_events(0.05) or cancelled)
    assert cancelled == [tag] and channel.is_open and channel.consumer_tags == []


def test_generator_consumer_ends_when_its_queue_is_deleted(connect, shared_queue):
    queue = shared_queue()
    channel, other = connect().channel(), connect().channel()
    other.basic_publish("", queue, "last")
    seen = []
    for method, _, body in channel.consume(queue, inactivity_timeout=broker.PATIENCE):
        assert method, "neither a message nor a cancel came"
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        other.queue_delete(queue)
    assert seen == [b"last"]


def test_auto_delete_queue_goes_with_its_last_consumer(connection, channel):
    queue = broker.unique("auto-delete")
    channel.queue_declare(queue, auto_delete=True)
    fill(channel, queue, "a")
    assert take(channel, queue, 1, auto_ack=True)[0][1] == "a"
    probe = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as closed:
        probe.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 404


def test_an_empty_name_is_the_queue_declared_last(channel):
    channel.queue_declare("", exclusive=True)
    last = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind("", "amq.direct", last)
    channel.basic_publish("amq.direct", last, "found")
    assert broker.eventually(lambda: get(channel, last)) == (1, "found", False)
    assert get(channel, "") is None
    assert channel.queue_delete("").method.message_count == 0


def test_exclusive_queue_goes_with_its_connection(connect):
    owner = connect()
    queue = owner.channel().queue_declare("", exclusive=True).method.queue
    assert queue.startswith("amq.gen-")
    owner.close()
    probe = connect()

    def gone():
        try:
            probe.channel().queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            return error.reply_code == 404

    broker.eventually(gone)


def test_higher_priority_first(channel):
    queue = channel.queue_declare("", exclusive=True, arguments={"x-max-priority": 5}).method.queue
    for body, priority in [("low", 1), ("none", None), ("high", 5), ("low too", 1), ("above the maximum", 9)]:
        channel.basic_publish("", queue, body, BasicProperties(priority=priority))
    broker.eventually(lambda: depth(channel, queue) == 5)
    assert [get(channel, queue)[1] for _ in range(5)] == [
        "high",
        "above the maximum",
        "low",
        "low too",
        "none",
    ]


def test_tx_commit_publishes_and_settles(connection, channel, queue):
    fill(channel, queue, "old")
    tx = connection.channel()
    tx.tx_select()
    tag = get(tx, queue)[0]
    tx.basic_ack(tag)
    tx.basic_publish("", queue, "new")
    assert get(channel, queue) is None
    tx.tx_commit()
    assert broker.eventually(lambda: get(channel, queue))[1] == "new"
    tx.close()
    assert get(channel, queue) is None


def test_tx_rollback_undoes_publishes_and_acks(connection, channel, queue):
    fill(channel, queue, "old")
    tx = connection.channel()
    tx.tx_select()
    tag = get(tx, queue)[0]
    tx.basic_ack(tag)
    tx.basic_publish("", queue, "new")
    tx.tx_rollback()
    assert get(channel, queue) is None
    tx.basic_recover(requeue=True)
    assert get(tx, queue)[1:] == ("old", True)
    assert get(tx, queue) is None


def test_many_messages_keep_their_order(channel, queue):
    for number in range(5000):
        channel.basic_publish("", queue, str(number))
    taken = take(channel, queue, 5000, auto_ack=True)
    assert [body for _, body, _ in taken] == [str(number) for number in range(5000)]
