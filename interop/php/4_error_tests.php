<?php
// Refusals: reply code, text, and that only the channel, or the whole connection, goes.

declare(strict_types=1);

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;

function refusedOn(AMQPChannel $own, int $code, string $text, callable $call): void
{
    $error = raises(AMQPProtocolChannelException::class, function () use ($own, $call): void {
        $call($own);
        // What has no answer of its own is refused while something else is waited for.
        waitFor($own, fn () => false, 'refusal');
    });
    same([$code, $text], [$error->amqp_reply_code, $error->amqp_reply_text]);
}

/** The call is refused on a channel of its own, and the connection survives. */
function refused(Broker $broker, int $code, string $text, callable $call): void
{
    refusedOn($broker->connection()->channel(), $code, $text, $call);
    $other = $broker->connection()->channel();
    $broker->privateQueue($other);
    $other->close();
}

test('refusal: 404', function (Broker $broker): void {
    $none = $broker->unique('none');
    $queue = "NOT_FOUND - no queue '$none' in vhost '/'";
    $exchange = "NOT_FOUND - no exchange '$none' in vhost '/'";
    refused($broker, 404, $queue, fn (AMQPChannel $own) => $own->queue_declare($none, true));
    refused($broker, 404, $queue, fn (AMQPChannel $own) => $own->basic_get($none));
    refused($broker, 404, $queue, fn (AMQPChannel $own) => $own->basic_consume($none));
    refused($broker, 404, $exchange, fn (AMQPChannel $own) => $own->exchange_declare($none, 'direct', true));
    refused($broker, 404, $exchange, fn (AMQPChannel $own) => $own->basic_publish(new AMQPMessage('lost'), $none, 'key'));
});

test('refusal: 405', function (Broker $broker): void {
    $locked = $broker->unique('locked');
    $broker->connect()->channel()->queue_declare($locked, false, false, true, false);
    $text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '$locked' in vhost '/'. It could be originally declared on"
        . ' another connection or the exclusive property value does not match that of the original declaration.';
    refused($broker, 405, $text, fn (AMQPChannel $own) => $own->queue_declare($locked, true));
    refused($broker, 405, $text, fn (AMQPChannel $own) => $own->queue_delete($locked));
});

test('refusal: 406', function (Broker $broker): void {
    $queue = $broker->unique('there');
    $broker->channel()->queue_declare($queue, false, false, false, true);
    $text = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '$queue' in vhost '/': received 'true' but current is 'false'";
    refused($broker, 406, $text, fn (AMQPChannel $own) => $own->queue_declare($queue, false, true, false, true));
    new Inbox($broker->channel(), $queue);
    $inUse = "PRECONDITION_FAILED - queue '$queue' in vhost '/' in use";
    refused($broker, 406, $inUse, fn (AMQPChannel $own) => $own->queue_delete($queue, true));
    refused($broker, 406, 'PRECONDITION_FAILED - unknown delivery tag 9', fn (AMQPChannel $own) => $own->basic_ack(9));
});

test('refusal: 403', function (Broker $broker): void {
    $reserved = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
    refused($broker, 403, $reserved, fn (AMQPChannel $own) => $own->queue_declare('amq.mine', false, false, true));
    $queue = $broker->privateQueue();
    new Inbox($broker->channel(), $queue, exclusive: true);
    $exclusive = "ACCESS_REFUSED - queue '$queue' in vhost '/' in exclusive use";
    refused($broker, 403, $exclusive, fn (AMQPChannel $own) => $own->basic_consume($queue));
});

test('refusal: the whole connection', function (Broker $broker): void {
    $own = $broker->connect();
    $error = raises(AMQPConnectionClosedException::class, fn () => $own->channel()->basic_qos(10, 1, false));
    same([540, 'NOT_IMPLEMENTED - prefetch_size!=0 (10)'], [$error->getCode(), preg_replace('/\(60, 10\).*$/', '', $error->getMessage())]);
    same(false, $own->isConnected());
});
