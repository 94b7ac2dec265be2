<?php
// Consumers: how they end, what they return, who is served.

declare(strict_types=1);

use PhpAmqpLib\Exception\AMQPBasicCancelException;

test('consumer: deleting the queue cancels its consumers', function (Broker $broker): void {
    $queue = $broker->unique('deleted');
    $broker->channel()->queue_declare($queue, false, false, false, false);
    $channel = $broker->connect()->channel();
    $inbox = new Inbox($channel, $queue);
    $broker->channel()->queue_delete($queue);
    $cancel = raises(AMQPBasicCancelException::class, fn () => waitFor($channel, fn () => false, 'cancel'));
    same($inbox->tag, $cancel->consumerTag);
    // The channel lives on.
    $broker->privateQueue($channel);
});

test('consumer: cancel by the client', function (Broker $broker): void {
    $channel = $broker->channel();
    $queue = $broker->unique('cancelled');
    $channel->queue_declare($queue, false, false, true, false);
    $first = new Inbox($channel, $queue, noAck: true, tag: 'mine');
    same('mine', $first->tag);
    $first->cancel();
    same(0, $channel->queue_declare($queue, false, false, true, false)[2]);
    $broker->publish('', $queue, 'later');
    same(['later'], (new Inbox($channel, $queue, noAck: true, tag: 'mine'))->bodies(1));
    same([], $first->waiting);
});

test('consumer: the prefetch bounds what it holds', function (Broker $broker): void {
    $queue = $broker->privateQueue();
    $taker = $broker->connection()->channel();
    $taker->basic_qos(0, 2, false);
    $inbox = new Inbox($taker, $queue);
    foreach (['0', '1', '2', '3'] as $body) {
        $broker->publish('', $queue, $body);
    }
    $inbox->next();
    $second = $inbox->next();
    settle($taker);
    same([], $inbox->waiting);
    $second->ack(true);
    same(['2', '3'], $inbox->bodies(2));
});

test('consumer: what it gives back goes to the old place', function (Broker $broker): void {
    $queue = $broker->privateQueue();
    foreach (['1', '2', '3', '4', '5'] as $body) {
        $broker->publish('', $queue, $body);
    }
    $taker = $broker->connection()->channel();
    $inbox = new Inbox($taker, $queue);
    $taken = [];
    while (count($taken) < 5) {
        $taken[] = $message = $inbox->next();
        same(count($taken), (int) $message->getDeliveryTag());
    }
    $taken[0]->ack();
    $taken[2]->reject(false);
    $inbox->cancel();
    $taken[3]->nack(true);
    $taken[1]->reject(true);
    $taker->close();
    foreach (['2', '4', '5'] as $body) {
        $message = $broker->channel()->basic_get($queue, true);
        same([$body, true], [$message->body, $message->isRedelivered()]);
    }
    same(null, $broker->channel()->basic_get($queue, true));
});

test('consumer: recover brings back what is not acknowledged', function (Broker $broker): void {
    $channel = $broker->channel();
    $queue = $broker->privateQueue();
    foreach (['1', '2', '3'] as $body) {
        $broker->publish('', $queue, $body);
    }
    $inbox = new Inbox($channel, $queue);
    same(['1', '2', '3'], $inbox->bodies(3));
    $channel->basic_ack(2, true);
    $channel->basic_recover(true);
    $again = $inbox->next();
    same(['3', true], [$again->body, $again->isRedelivered()]);
});

test('consumer: get and purge', function (Broker $broker): void {
    $channel = $broker->channel();
    $queue = $broker->privateQueue();
    same(null, $channel->basic_get($queue));
    $broker->publish('', $queue, 'a');
    $broker->publish('', $queue, 'b');
    $message = $channel->basic_get($queue);
    same(['a', 1], [$message->body, (int) $message->getMessageCount()]);
    $message->ack();
    same(1, $channel->queue_purge($queue));
});
