"""pika: what is refused, with RabbitMQ's reply codes and texts, and what of the connection survives it."""

import pika
import pytest
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

import broker

LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{0}' in vhost '/'. It could be originally declared on another"
    " connection or the exclusive property value does not match that of the original declaration."
)


def consume_twice_with_one_tag(channel, queue):
    """pika refuses a tag of its own consumers by itself, so the second consume is sent below it."""
    channel.basic_consume(queue, print, consumer_tag="tag")
    channel._impl._send_method(pika.spec.Basic.Consume(queue=queue, consumer_tag="tag"))
    broker.eventually(lambda: channel.connection.process_data_events(0.05))


# What is done on a channel, the code and the text of its refusal. {0} is a plain queue, {1} a durable direct
# exchange, {2} a name that nothing has.
CHANNEL_ERRORS = {
    "passive declare of a missing queue": (
        lambda c, q, x, n: c.queue_declare(n, passive=True),
        404,
        "NOT_FOUND - no queue '{2}' in vhost '/'",
    ),
    "passive declare of a missing exchange": (
        lambda c, q, x, n: c.exchange_declare(n, passive=True),
        404,
        "NOT_FOUND - no exchange '{2}' in vhost '/'",
    ),
    "consume from a missing queue": (
        lambda c, q, x, n: c.basic_consume(n, print),
        404,
        "NOT_FOUND - no queue '{2}' in vhost '/'",
    ),
    "get from a missing queue": (
        lambda c, q, x, n: c.basic_get(n),
        404,
        "NOT_FOUND - no queue '{2}' in vhost '/'",
    ),
    "purge of a missing queue": (
        lambda c, q, x, n: c.queue_purge(n),
        404,
        "NOT_FOUND - no queue '{2}' in vhost '/'",
    ),
    "bind of a missing queue": (
        lambda c, q, x, n: c.queue_bind(n, x),
        404,
        "NOT_FOUND - no queue '{2}' in vhost '/'",
    ),
    "bind to a missing exchange": (
        lambda c, q, x, n: c.queue_bind(q, n),
        404,
        "NOT_FOUND - no exchange '{2}' in vhost '/'",
    ),
    "queue redeclared durable": (
        lambda c, q, x, n: c.queue_declare(q, durable=True),
        406,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{0}' in vhost '/': received 'true' but current is 'false'",
    ),
    "queue redeclared auto-delete": (
        lambda c, q, x, n: c.queue_declare(q, auto_delete=True),
        406,
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{0}' in vhost '/': received 'true' but current is 'false'",
    ),
    "queue redeclared with an argument": (
        lambda c, q, x, n: c.queue_declare(q, arguments={"x-message-ttl": 1000}),
        406,
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue '{0}' in vhost '/':"
        " received the value '1000' of type 'signedint' but current is none",
    ),
    "queue redeclared exclusive": (lambda c, q, x, n: c.queue_declare(q, exclusive=True), 405, LOCKED),
    "exchange redeclared with another type": (
        lambda c, q, x, n: c.exchange_declare(x, "fanout", durable=True),
        406,
        "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{1}' in vhost '/': received 'fanout' but current is 'direct'",
    ),
    "exchange redeclared transient": (
        lambda c, q, x, n: c.exchange_declare(x, "direct"),
        406,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange '{1}' in vhost '/': received 'false' but current is 'true'",
    ),
    "queue with a reserved name": (
        lambda c, q, x, n: c.queue_declare("amq.mine"),
        403,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
    ),
    "exchange with a reserved name": (
        lambda c, q, x, n: c.exchange_declare("amq.mine"),
        403,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
    ),
    "bind to the default exchange": (
        lambda c, q, x, n: c.queue_bind(q, "", "key"),
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
    ),
    "delete of the default exchange": (
        lambda c, q, x, n: c.exchange_delete(""),
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
    ),
    "ack of an unknown tag": (
        lambda c, q, x, n: (c.basic_ack(9), c.queue_declare(q, passive=True)),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 9",
    ),
    "nack of an unknown tag": (
        lambda c, q, x, n: (c.basic_nack(9), c.queue_declare(q, passive=True)),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 9",
    ),
    "queue in use deleted if-unused": (
        lambda c, q, x, n: (c.basic_consume(q, print), c.queue_delete(q, if_unused=True)),
        406,
        "PRECONDITION_FAILED - queue '{0}' in vhost '/' in use",
    ),
    "full queue deleted if-empty": (
        lambda c, q, x, n: (
            c.confirm_delivery(),
            c.basic_publish("", q, "message"),
            c.queue_delete(q, if_empty=True),
        ),
        406,
        "PRECONDITION_FAILED - queue '{0}' in vhost '/' not empty",
    ),
    "exchange in use deleted if-unused": (
        lambda c, q, x, n: (c.queue_bind(q, x, "key"), c.exchange_delete(x, if_unused=True)),
        406,
        "PRECONDITION_FAILED - exchange '{1}' in vhost '/' in use",
    ),
    "second consumer beside an exclusive one": (
        lambda c, q, x, n: (c.basic_consume(q, print, exclusive=True), c.basic_consume(q, print)),
        403,
        "ACCESS_REFUSED - queue '{0}' in vhost '/' in exclusive use",
    ),
    "confirms on a transactional channel": (
        lambda c, q, x, n: (c.tx_select(), c.confirm_delivery()),
        406,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
    ),
    "transactions on a confirming channel": (
        lambda c, q, x, n: (c.confirm_delivery(), c.tx_select()),
        406,
        "PRECONDITION_FAILED - cannot switch from confirm to tx mode",
    ),
    "commit without select": (
        lambda c, q, x, n: c.tx_commit(),
        406,
        "PRECONDITION_FAILED - channel is not transactional",
    ),
    "publish in another user's name": (
        lambda c, q, x, n: (
            c.confirm_delivery(),
            c.basic_publish("", q, "message", pika.BasicProperties(user_id="somebody")),
        ),
        406,
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'",
    ),
}


@pytest.mark.parametrize("action, code, text", CHANNEL_ERRORS.values(), ids=CHANNEL_ERRORS.keys())
def test_channel_errors_leave_the_connection_open(connection, shared_queue, exchange, action, code, text):
    names = shared_queue(), exchange("direct", durable=True), broker.unique("missing")
    channel = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as error:
        action(channel, *names)
    assert (error.value.reply_code, error.value.reply_text) == (code, text.format(*names))
    assert connection.is_open
    again = connection.channel(channel.channel_number)
    again.queue_declare(names[0], passive=True)


@pytest.mark.parametrize(
    "action",
    [
        lambda channel, queue: channel.queue_declare(queue, passive=True),
        lambda channel, queue: channel.queue_declare(queue, exclusive=True),
        lambda channel, queue: channel.basic_consume(queue, print),
        lambda channel, queue: channel.basic_get(queue),
        lambda channel, queue: channel.queue_bind(queue, "amq.direct", "key"),
        lambda channel, queue: channel.queue_purge(queue),
        lambda channel, queue: channel.queue_delete(queue),
    ],
    ids=["passive declare", "declare", "consume", "get", "bind", "purge", "delete"],
)
def test_exclusive_queue_is_locked_for_other_connections(connect, queue, action):
    with pytest.raises(ChannelClosedByBroker) as error:
        action(connect().channel(), queue)
    assert (error.value.reply_code, error.value.reply_text) == (405, LOCKED.format(queue))


CONNECTION_ERRORS = {
    "reused consumer tag": (
        consume_twice_with_one_tag,
        530,
        "NOT_ALLOWED - attempt to reuse consumer tag 'tag'",
    ),
    "prefetch size": (
        lambda channel, _: channel.basic_qos(prefetch_size=10),
        540,
        "NOT_IMPLEMENTED - prefetch_size!=0 (10)",
    ),
    "recover without requeue": (
        lambda channel, _: channel.basic_recover(requeue=False),
        540,
        "NOT_IMPLEMENTED - requeue=false",
    ),
    "channel flow off": (lambda channel, _: channel.flow(False), 540, "NOT_IMPLEMENTED - active=false"),
}


@pytest.mark.parametrize("action, code, text", CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS.keys())
def test_connection_errors(connection, channel, queue, action, code, text):
    with pytest.raises(ConnectionClosedByBroker) as error:
        action(channel, queue)
    assert (error.value.reply_code, error.value.reply_text) == (code, text)
    assert connection.is_closed


def test_unknown_exchange_type(connection, channel):
    """406 on the channel, as RabbitMQ since 3.13; 503 on the connection before that."""
    product = connection._impl.server_properties["product"]
    with pytest.raises((ChannelClosedByBroker, ConnectionClosedByBroker)) as error:
        channel.exchange_declare(broker.unique("strange"), "strange")
    if isinstance(error.value, ConnectionClosedByBroker):
        assert (error.value.reply_code, error.value.reply_text) == (
            503,
            "COMMAND_INVALID - unknown exchange type 'strange'",
        )
        assert product == "RabbitMQ"
    else:
        assert (error.value.reply_code, error.value.reply_text) == (
            406,
            "PRECONDITION_FAILED - unknown exchange type 'strange'",
        )
        assert connection.is_open


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({"credentials": pika.PlainCredentials("guest", "wrong")}, ProbableAuthenticationError),
        ({"credentials": pika.PlainCredentials("nobody", "guest")}, ProbableAuthenticationError),
        ({"virtual_host": "no such vhost"}, ProbableAccessDeniedError),
    ],
    ids=["wrong password", "unknown user", "unknown vhost"],
)
def test_refused_at_the_door(changes, refusal):
    with pytest.raises(AMQPConnectionError) as error:
        pika.BlockingConnection(broker.parameters(**changes))
    cause = (
        error.value.args[0]
        if error.value.args and isinstance(error.value.args[0], Exception)
        else error.value
    )
    if refusal is ProbableAuthenticationError:
        assert "ACCESS_REFUSED" in str(cause)
        assert "Login was refused using authentication mechanism PLAIN" in str(cause)
    else:
        assert "530" in str(cause) and "vhost no such vhost not found" in str(cause)
