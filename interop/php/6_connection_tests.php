<?php
// The handshake, heartbeats, refused logins, and what a client finds after a restart of the broker.

declare(strict_types=1);

use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Message\AMQPMessage;

test('connection: properties of the server', function (Broker $broker): void {
    $properties = $broker->connection()->getServerProperties();
    foreach (['product', 'version', 'platform', 'copyright', 'information', 'cluster_name'] as $name) {
        check(($properties[$name][1] ?? '') !== '', "no $name");
    }
    $capabilities = $properties['capabilities'][1];
    $needed = ['publisher_confirms', 'exchange_exchange_bindings', 'basic.nack', 'consumer_cancel_notify', 'connection.blocked',
        'authentication_failure_close'];
    foreach ($needed as $name) {
        same(true, (bool) $capabilities[$name][1], $name);
    }
});

test('connection: it survives heartbeats', function (Broker $broker): void {
    $own = $broker->connect(heartbeat: 1);
    $channel = $own->channel();
    for ($i = 0; $i < 7; $i++) {
        usleep(500_000);
        $own->checkHeartBeat();
        settle($channel);
    }
    $broker->privateQueue($channel);
});

test('connection: refused logins', function (Broker $broker): void {
    $refused = fn (callable $call): string => raises(AMQPConnectionClosedException::class, $call)->getMessage();
    foreach ([['guest', 'wrong'], ['nobody', 'guest']] as [$user, $password]) {
        $text = $refused(fn () => $broker->connect($user, $password));
        check(str_starts_with($text, 'ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN.'), $text);
    }
    $vhost = $broker->unique('vhost');
    $text = $refused(fn () => $broker->connect(vhost: $vhost));
    check(str_starts_with($text, "NOT_ALLOWED - vhost $vhost not found"), $text);
});

/** A broker of the test's own; the call that it gives starts, stops or kills it. */
function ownBroker(string $name, callable $body): void
{
    $command = getenv('INTEROP_BROKER') ?: throw new Skipped('no WARRENMQ_BINARY');
    $run = function (string $verb) use ($command, $name): int {
        exec(escapeshellarg($command) . " $verb $name", $said, $status);
        same(0, $status, "broker $verb");
        return (int) ($said[0] ?? 0);
    };
    try {
        $body($run, $run('start'));
    } finally {
        $run('kill');
    }
}

foreach (['stop', 'kill'] as $verb) {
    test("restart: what was confirmed is there after $verb", function (Broker $broker) use ($verb): void {
        ownBroker("php-$verb", function (callable $run, int $port) use ($broker, $verb): void {
            $channel = $broker->connect(port: $port)->channel();
            $channel->queue_declare('kept', false, true, false, false);
            $channel->queue_declare('fleeting', false, false, false, false);
            $channel->confirm_select();
            foreach (['a', 'b', 'c'] as $body) {
                $channel->basic_publish(new AMQPMessage($body, ['delivery_mode' => 2]), '', 'kept');
            }
            $channel->wait_for_pending_acks(Suite::STEP);
            new Inbox($channel, 'fleeting');

            $run($verb);
            // Whether it has read why before it finds out that nobody hears its answer is up to the client.
            raises(AMQPExceptionInterface::class, fn () => waitFor($channel, fn () => false, 'end of the connection'));
            $run('start');
            $connection = $broker->connect(port: $port);
            $again = $connection->channel();
            $inbox = new Inbox($again, 'kept', noAck: true);
            same(['a', 'b', 'c'], $inbox->bodies(3));
            $again->basic_publish(new AMQPMessage('after'), '', 'kept');
            same(['after'], $inbox->bodies(1));
            refusedOn($connection->channel(), 404, "NOT_FOUND - no queue 'fleeting' in vhost '/'", fn ($own) => $own->queue_declare('fleeting', true));
        });
    });
}
