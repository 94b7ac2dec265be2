<?php
// Publisher confirms, returned messages, transactions.

declare(strict_types=1);

use PhpAmqpLib\Message\AMQPMessage;

test('confirms: all is confirmed', function (Broker $broker): void {
    $queue = $broker->unique('confirmed');
    $channel = $broker->channel();
    $channel->queue_declare($queue, false, true, false, false);
    $channel->confirm_select();
    $acked = [];
    $channel->set_ack_handler(function (AMQPMessage $message) use (&$acked): void {
        $acked[] = (int) $message->body;
    });
    for ($i = 0; $i < 300; $i++) {
        $broker->publish('', $queue, (string) $i, ['delivery_mode' => $i % 3 === 0 ? 2 : 1]);
    }
    $channel->wait_for_pending_acks(Suite::STEP);
    sort($acked);
    same(range(0, 299), $acked);
    same(300, $channel->queue_delete($queue));
});

test('confirms: a mandatory message is returned before it is confirmed', function (Broker $broker): void {
    $channel = $broker->channel();
    $events = [];
    $channel->set_return_listener(function ($code, $text, $exchange, $key, AMQPMessage $message) use (&$events): void {
        $events[] = [$code, $text, $exchange, $key, $message->get('content_type'), $message->body];
    });
    $channel->set_ack_handler(function () use (&$events): void {
        $events[] = 'ack';
    });
    $channel->confirm_select();
    $key = $broker->unique('nowhere');
    $channel->basic_publish(new AMQPMessage('come back', ['content_type' => 'text/plain']), 'amq.direct', $key, true);
    $channel->wait_for_pending_acks_returns(Suite::STEP);
    same([[312, 'NO_ROUTE', 'amq.direct', $key, 'text/plain', 'come back'], 'ack'], $events);
});

test('confirms: an unroutable message is confirmed', function (Broker $broker): void {
    $acked = 0;
    $broker->channel()->set_ack_handler(function () use (&$acked): void {
        $acked++;
    });
    $broker->channel()->confirm_select();
    $broker->publish('amq.direct', $broker->unique('nowhere'), 'lost');
    $broker->channel()->wait_for_pending_acks(Suite::STEP);
    same(1, $acked);
});

test('confirms: a full queue refuses', function (Broker $broker): void {
    $channel = $broker->channel();
    $limit = new PhpAmqpLib\Wire\AMQPTable(['x-max-length' => 1, 'x-overflow' => 'reject-publish']);
    [$queue] = $channel->queue_declare('', false, false, true, false, false, $limit);
    $events = [];
    foreach (['set_ack_handler' => 'ack', 'set_nack_handler' => 'nack'] as $set => $name) {
        $channel->$set(function (AMQPMessage $message) use (&$events, $name): void {
            $events[] = "$name {$message->body}";
        });
    }
    $channel->confirm_select();
    foreach (['first', 'second'] as $body) {
        $broker->publish('', $queue, $body);
        $channel->wait_for_pending_acks(Suite::STEP);
    }
    same(['ack first', 'nack second'], $events);
});

test('transaction', function (Broker $broker): void {
    $channel = $broker->channel();
    $queue = $broker->privateQueue();
    $channel->tx_select();
    $broker->publish('', $queue, 'rolled back');
    $channel->tx_rollback();
    $broker->publish('', $queue, 'committed');
    same(null, $channel->basic_get($queue, true));
    $channel->tx_commit();
    same('committed', $channel->basic_get($queue, true)->body);
    $channel->tx_commit();
    same(null, $channel->basic_get($queue, true));
});
