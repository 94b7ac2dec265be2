<?php
// One session with a little of everything. What this client says in it is kept as a transcript: tests/transcripts/clients.

declare(strict_types=1);

use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

test('session', function (Broker $broker): void {
    [$exchange, $queue] = ['session.php', 'session.php.queue'];
    $connection = $broker->connect();
    $channel = $connection->channel();
    $channel->exchange_declare($exchange, 'topic', false, true, false);
    $channel->queue_declare($queue, false, true, false, false, false, new AMQPTable(['x-max-length' => 100, 'x-queue-mode' => 'lazy']));
    $channel->queue_bind($queue, $exchange, 'key.#');

    $returned = [];
    $channel->set_return_listener(function (int $code) use (&$returned): void {
        $returned[] = $code;
    });
    $channel->confirm_select();
    $publish = function (string $key, string $body, array $properties = [], bool $mandatory = false) use ($channel, $exchange): void {
        $channel->basic_publish(new AMQPMessage($body, $properties), $exchange, $key, $mandatory);
        $channel->wait_for_pending_acks_returns(Suite::STEP);
    };
    $headers = ['text' => 'Grüße', 'number' => 7, 'long' => 2 ** 40, 'yes' => true, 'list' => ['a', 1], 'table' => ['in' => 'deep']];
    $publish('key.1', 'first', [
        'application_headers' => new AMQPTable($headers), 'content_type' => 'text/plain', 'delivery_mode' => 2, 'priority' => 3,
        'correlation_id' => 'c1', 'reply_to' => 'nobody', 'message_id' => 'm1', 'timestamp' => 1_700_000_000, 'type' => 'event',
        'user_id' => 'guest', 'app_id' => 'session',
    ]);
    $publish('key.2', str_repeat('x', 20_000), mandatory: true);
    $publish('key.3', '');
    $publish('other', 'comes back', mandatory: true);
    same([312], $returned);

    $message = $channel->basic_get($queue);
    same('first', $message->body);
    $message->nack(true);
    $channel->basic_qos(0, 2, false);
    $inbox = new Inbox($channel, $queue, tag: 'session');
    same(true, $inbox->next()->isRedelivered());
    $inbox->next()->ack(true);
    $inbox->next()->reject(false);
    $inbox->cancel();

    $second = $connection->channel();
    $own = $broker->privateQueue($second);
    $mine = new Inbox($second, $own, noAck: true, tag: 'itself');
    $second->basic_publish(new AMQPMessage('to itself'), '', $own);
    same(['to itself'], $mine->bodies(1));
    raises(AMQPProtocolChannelException::class, fn () => $second->queue_declare('session.php.none', true));

    $channel->queue_purge($queue);
    $channel->queue_unbind($queue, $exchange, 'key.#');
    $channel->queue_delete($queue);
    $channel->exchange_delete($exchange);
    $channel->close();
    $connection->close();
});
