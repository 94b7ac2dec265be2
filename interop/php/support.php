<?php
// What every test needs: a list of tests, connections that are closed at the end, names nobody else uses, waits that end.

declare(strict_types=1);

require 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;

/** A check that did not hold. */
final class Failed extends Exception
{
}

/** The reason why a test cannot be run here. */
final class Skipped extends Exception
{
}

/** The tests, in the order in which they were written. */
final class Suite
{
    /** How long one step may take, in seconds. Generous: the machine may be busy. */
    public const STEP = 15;

    private static array $tests = [];

    public static function add(string $name, callable $body): void
    {
        self::$tests[$name] = $body;
    }

    /** Runs those whose names contain `$filter`; true when none has failed. */
    public static function run(string $filter): bool
    {
        $success = true;
        foreach (self::$tests as $name => $body) {
            if ($filter === '' || str_contains($name, $filter)) {
                $success = self::runOne($name, $body) && $success;
            }
        }
        return $success;
    }

    private static function runOne(string $name, callable $body): bool
    {
        $broker = new Broker();
        try {
            $body($broker);
            echo "ok $name\n";
            return true;
        } catch (Skipped $reason) {
            echo "skip $name: {$reason->getMessage()}\n";
            return true;
        } catch (Throwable $error) {
            $class = get_class($error);
            $text = "$class: {$error->getMessage()}\n{$error->getFile()}:{$error->getLine()}\n{$error->getTraceAsString()}";
            echo "not ok $name\n", preg_replace('/^/m', '    ', $text), "\n";
            return false;
        } finally {
            $broker->closeAll();
        }
    }
}

function test(string $name, callable $body): void
{
    Suite::add($name, $body);
}

/** The broker under test, as one test sees it. */
final class Broker
{
    /** @var AMQPStreamConnection[] */
    private array $opened = [];
    private ?AMQPStreamConnection $connection = null;
    private ?AMQPChannel $channel = null;

    public static function port(): int
    {
        return (int) (getenv('AMQP_PORT') ?: 5672);
    }

    /** A connection that is closed after the test. */
    public function connect(
        string $user = 'guest',
        string $password = 'guest',
        string $vhost = '/',
        int $heartbeat = 0,
        ?int $port = null
    ): AMQPStreamConnection {
        $host = getenv('AMQP_HOST') ?: '127.0.0.1';
        $connection = new AMQPStreamConnection(
            $host,
            $port ?? self::port(),
            $user,
            $password,
            $vhost,
            connection_timeout: Suite::STEP,
            read_write_timeout: 2 * Suite::STEP,
            heartbeat: $heartbeat,
            channel_rpc_timeout: Suite::STEP
        );
        $this->opened[] = $connection;
        return $connection;
    }

    public function connection(): AMQPStreamConnection
    {
        return $this->connection ??= $this->connect();
    }

    public function channel(): AMQPChannel
    {
        return $this->channel ??= $this->connection()->channel();
    }

    public function closeAll(): void
    {
        foreach ($this->opened as $connection) {
            try {
                $connection->close();
            } catch (Throwable) {
                // It has gone before.
            }
        }
    }

    /** A name that no other test, run or client uses. */
    public function unique(string $what): string
    {
        return "interop.php.$what." . bin2hex(random_bytes(6));
    }

    /** A server-named queue of the channel's connection, gone with it. */
    public function privateQueue(?AMQPChannel $channel = null): string
    {
        [$queue] = ($channel ?? $this->channel())->queue_declare('', false, false, true, false);
        check(str_starts_with($queue, 'amq.gen-'), "server-named queue is called $queue");
        return $queue;
    }

    public function publish(string $exchange, string $key, string $body, array $properties = []): void
    {
        $this->channel()->basic_publish(new AMQPMessage($body, $properties), $exchange, $key);
    }

    /** Checks that the queue holds these bodies in this order, and nothing else. */
    public function holds(array $expected, string $queue): void
    {
        $this->publish('', $queue, 'end');
        $inbox = new Inbox($this->channel(), $queue, noAck: true);
        same([...$expected, 'end'], $inbox->bodies(count($expected) + 1), $queue);
        $inbox->cancel();
    }
}

/** A consumer whose deliveries are taken one by one. */
final class Inbox
{
    public readonly string $tag;
    /** @var AMQPMessage[] */
    public array $waiting = [];

    public function __construct(
        private AMQPChannel $channel,
        string $queue,
        bool $noAck = false,
        string $tag = '',
        bool $exclusive = false
    ) {
        $take = function (AMQPMessage $message): void {
            $this->waiting[] = $message;
        };
        $this->tag = $channel->basic_consume($queue, $tag, false, $noAck, $exclusive, false, $take);
    }

    public function next(): AMQPMessage
    {
        waitFor($this->channel, fn () => $this->waiting !== [], 'delivery');
        return array_shift($this->waiting);
    }

    /** @return string[] */
    public function bodies(int $count): array
    {
        $bodies = [];
        while (count($bodies) < $count) {
            $bodies[] = $this->next()->body;
        }
        return $bodies;
    }

    public function cancel(): void
    {
        $this->channel->basic_cancel($this->tag);
    }
}

/** Lets the channel work until the condition holds. */
function waitFor(AMQPChannel $channel, callable $condition, string $what): void
{
    $deadline = microtime(true) + Suite::STEP;
    while (!$condition()) {
        check(microtime(true) < $deadline, "no $what within " . Suite::STEP . ' s');
        try {
            $channel->wait(null, false, 0.1);
        } catch (AMQPTimeoutException) {
            // Nothing has come; the limit is that of the loop.
        }
    }
}

/** Lets the channel work for a moment: what has arrived is in its inboxes then. */
function settle(AMQPChannel $channel): void
{
    try {
        $channel->wait(null, false, 0.05);
    } catch (AMQPTimeoutException) {
        // That is what was waited for.
    }
}

function check(bool $holds, string $what): void
{
    if (!$holds) {
        throw new Failed($what);
    }
}

function same(mixed $expected, mixed $got, string $what = ''): void
{
    check($expected === $got, "$what: " . json_encode($got) . ', expected ' . json_encode($expected));
}

/** The error that the call throws, which has to be of this class. */
function raises(string $class, callable $call): Throwable
{
    try {
        $call();
    } catch (Throwable $error) {
        if ($error instanceof $class) {
            return $error;
        }
        throw $error;
    }
    throw new Failed("no $class");
}
