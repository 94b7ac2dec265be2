<?php
// The six patterns of RabbitMQ's tutorials.

declare(strict_types=1);

use PhpAmqpLib\Message\AMQPMessage;

test('tutorial 1: hello', function (Broker $broker): void {
    $queue = $broker->unique('hello');
    same([$queue, 0, 0], $broker->channel()->queue_declare($queue, false, false, false, true));
    $broker->publish('', $queue, 'Hello World!');
    $inbox = new Inbox($broker->channel(), $queue, noAck: true);
    $message = $inbox->next();
    same(['Hello World!', $queue, '', false], [$message->body, $message->getRoutingKey(), $message->getExchange(), $message->isRedelivered()]);
    same($inbox->tag, $message->getConsumerTag());
});

test('tutorial 2: a worker gets its next task when it has acknowledged the last', function (Broker $broker): void {
    $queue = $broker->unique('tasks');
    $broker->channel()->queue_declare($queue, false, true, false, false);
    $worker = function () use ($broker, $queue): array {
        $channel = $broker->connect()->channel();
        $channel->basic_qos(0, 1, false);
        return [$channel, new Inbox($channel, $queue)];
    };
    [$slowChannel, $slow] = $worker();
    [, $quick] = $worker();
    foreach (['one', 'two', 'three', 'four'] as $task) {
        $broker->publish('', $queue, $task, ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT]);
    }
    $held = $slow->next();
    $done = [$held->body];
    while (count($done) < 4) {
        $task = $quick->next();
        same(2, $task->get('delivery_mode'));
        $done[] = $task->body;
        $task->ack();
    }
    settle($slowChannel);
    same([], $slow->waiting);
    $held->ack();
    sort($done);
    same(['four', 'one', 'three', 'two'], $done);
    $broker->channel()->queue_delete($queue);
});

test('tutorial 2: what a worker leaves unacknowledged goes to another', function (Broker $broker): void {
    $queue = $broker->unique('tasks');
    $broker->channel()->queue_declare($queue, false, false, false, false);
    $broker->publish('', $queue, 'task');
    $lost = $broker->connect();
    same(false, (new Inbox($lost->channel(), $queue))->next()->isRedelivered());
    $lost->close();
    $again = (new Inbox($broker->channel(), $queue))->next();
    same(['task', true], [$again->body, $again->isRedelivered()]);
    $again->ack();
    $broker->channel()->queue_delete($queue);
});

test('tutorial 3: publish/subscribe', function (Broker $broker): void {
    $exchange = $broker->unique('logs');
    $broker->channel()->exchange_declare($exchange, 'fanout', false, false, true);
    $queues = [$broker->privateQueue(), $broker->privateQueue()];
    foreach ($queues as $queue) {
        $broker->channel()->queue_bind($queue, $exchange);
    }
    $broker->publish($exchange, 'ignored', 'info: Hello World!');
    foreach ($queues as $queue) {
        $message = (new Inbox($broker->channel(), $queue, noAck: true))->next();
        same(['info: Hello World!', $exchange], [$message->body, $message->getExchange()]);
    }
});

/** Publishes every key as its own body, and checks which of them each queue gets: pairs of patterns and bodies in order. */
function routes(Broker $broker, string $type, array $keys, array $expected): void
{
    $exchange = $broker->unique($type);
    $broker->channel()->exchange_declare($exchange, $type, false, false, true);
    $queues = [];
    foreach ($expected as [$patterns]) {
        $queues[] = $queue = $broker->privateQueue();
        foreach ($patterns as $pattern) {
            $broker->channel()->queue_bind($queue, $exchange, $pattern);
        }
    }
    foreach ($keys as $key) {
        $broker->publish($exchange, $key, $key);
    }
    foreach ($expected as $i => [, $bodies]) {
        $broker->holds($bodies, $queues[$i]);
    }
}

test('tutorial 4: routing', function (Broker $broker): void {
    routes($broker, 'direct', ['info', 'error', 'debug', 'warning', 'error'], [
        [['error'], ['error', 'error']],
        [['info', 'warning', 'error'], ['info', 'error', 'warning', 'error']],
    ]);
});

test('tutorial 5: topics', function (Broker $broker): void {
    $keys = [
        'quick.orange.rabbit', 'lazy.orange.elephant', 'quick.orange.fox', 'lazy.brown.fox', 'lazy.pink.rabbit', 'quick.brown.fox',
        'orange', 'quick.orange.new.rabbit', 'lazy.orange.new.rabbit', 'lazy',
    ];
    routes($broker, 'topic', $keys, [
        [['*.orange.*'], ['quick.orange.rabbit', 'lazy.orange.elephant', 'quick.orange.fox']],
        [['*.*.rabbit', 'lazy.#'], [
            'quick.orange.rabbit', 'lazy.orange.elephant', 'lazy.brown.fox', 'lazy.pink.rabbit', 'lazy.orange.new.rabbit', 'lazy',
        ]],
        [['#'], $keys],
        [['*'], ['orange', 'lazy']],
        [['#.rabbit'], ['quick.orange.rabbit', 'lazy.pink.rabbit', 'quick.orange.new.rabbit', 'lazy.orange.new.rabbit']],
    ]);
});

function fibonacci(int $n): int
{
    return $n < 2 ? $n : fibonacci($n - 1) + fibonacci($n - 2);
}

test('tutorial 6: RPC', function (Broker $broker): void {
    $channel = $broker->channel();
    $requests = $broker->unique('rpc');
    $channel->queue_declare($requests, false, false, false, true);
    $server = $broker->connection()->channel();
    $server->basic_qos(0, 1, false);
    $serve = function (AMQPMessage $request) use ($server): void {
        $reply = new AMQPMessage((string) fibonacci((int) $request->body), ['correlation_id' => $request->get('correlation_id')]);
        $server->basic_publish($reply, '', $request->get('reply_to'));
        $request->ack();
    };
    $server->basic_consume($requests, '', false, false, false, false, $serve);
    $replyTo = $broker->privateQueue();
    $replies = new Inbox($channel, $replyTo, noAck: true);
    $asked = [];
    for ($n = 0; $n < 12; $n++) {
        $id = $broker->unique('call');
        $asked[$id] = $n;
        $broker->publish('', $requests, (string) $n, ['reply_to' => $replyTo, 'correlation_id' => $id]);
    }
    while ($asked !== []) {
        // Both channels are on one connection, in one thread: they work in turn.
        while ($replies->waiting === []) {
            settle($server);
            settle($channel);
        }
        $reply = $replies->next();
        $id = $reply->get('correlation_id');
        same((string) fibonacci($asked[$id]), $reply->body);
        unset($asked[$id]);
    }
});
