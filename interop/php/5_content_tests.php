<?php
// What is published arrives as it was: size, properties, headers; and is routed by its headers.

declare(strict_types=1);

use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

test('content: bodies of many frames', function (Broker $broker): void {
    $queue = $broker->privateQueue();
    $inbox = new Inbox($broker->channel(), $queue, noAck: true);
    foreach ([0, 1, 8184, 8185, 131_064, 131_065, 3_000_000] as $size) {
        $body = $size === 0 ? '' : random_bytes($size);
        $broker->publish('', $queue, $body);
        check($inbox->next()->body === $body, "a body of $size bytes arrives as another");
    }
});

test('content: properties and headers', function (Broker $broker): void {
    $headers = [
        'text' => 'Grüße', 'yes' => true, 'no' => false, 'int' => 70_000, 'negative' => -8, 'long' => 2 ** 40, 'nothing' => null,
        'list' => [1, 'a', [true]], 'table' => ['in' => ['deep' => 'er']],
    ];
    $properties = [
        'content_type' => 'application/json', 'content_encoding' => 'gzip', 'delivery_mode' => 2, 'priority' => 7,
        'correlation_id' => 'correlation', 'reply_to' => 'somewhere', 'expiration' => '600000', 'message_id' => 'id-1',
        'timestamp' => 1_700_000_000, 'type' => 'event', 'user_id' => 'guest', 'app_id' => 'interop',
    ];
    $queue = $broker->privateQueue();
    $broker->publish('', $queue, '{}', [...$properties, 'application_headers' => new AMQPTable($headers)]);
    $broker->publish('', $queue, 'bare');
    $inbox = new Inbox($broker->channel(), $queue, noAck: true);
    $got = $inbox->next()->get_properties();
    same($headers, $got['application_headers']->getNativeData());
    unset($got['application_headers']);
    same($properties, $got);
    same([], $inbox->next()->get_properties());
});

test('content: headers exchange', function (Broker $broker): void {
    $channel = $broker->channel();
    $exchange = $broker->unique('headers');
    $channel->exchange_declare($exchange, 'headers', false, false, true);
    $queues = [];
    foreach (['all', 'any'] as $match) {
        $queues[$match] = $broker->privateQueue();
        $arguments = new AMQPTable(['x-match' => $match, 'format' => 'pdf', 'pages' => 2]);
        $channel->queue_bind($queues[$match], $exchange, '', false, $arguments);
    }
    foreach ([['format' => 'pdf', 'pages' => 2], ['pages' => 2], ['format' => 'zip']] as $i => $headers) {
        $broker->publish($exchange, '', (string) $i, ['application_headers' => new AMQPTable($headers)]);
    }
    $broker->holds(['0'], $queues['all']);
    $broker->holds(['0', '1'], $queues['any']);
});
