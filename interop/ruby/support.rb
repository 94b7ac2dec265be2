# What every test needs: a list of tests, connections that are closed at the end, names nobody else uses, waits that end.

require 'bunny'
require 'logger'
require 'securerandom'
require 'timeout'

# A check that did not hold.
class Failed < StandardError; end

# The reason why a test cannot be run here.
class Skipped < StandardError; end

# The tests, in the order in which they were written.
module Suite
  # How long one step, and a whole test, may take. Generous: the machine may be busy.
  STEP = 15
  TEST = 60

  @tests = []

  def self.add(name, body)
    @tests << [name, body]
  end

  # Runs those whose names contain `filter`; true when none has failed.
  def self.run(filter)
    @tests.select { |name, _| name.include?(filter) }.map { |name, body| run_one(name, body) }.all?
  end

  def self.run_one(name, body)
    broker = Broker.new
    Timeout.timeout(TEST) { broker.instance_exec(&body) }
    puts "ok #{name}"
    true
  rescue Skipped => reason
    puts "skip #{name}: #{reason.message}"
    true
  rescue Exception => error
    puts "not ok #{name}", "    #{error.class}: #{error.message}", *error.backtrace.first(6).map { |line| "    #{line}" }
    false
  ensure
    broker.close_all
    $stdout.flush
  end
end

# test NAME do … end: the block runs in a Broker of its own.
def test(name, &body)
  Suite.add(name, body)
end

# The broker under test, as one test sees it.
class Broker
  HOST = ENV.fetch('AMQP_HOST', '127.0.0.1')
  PORT = Integer(ENV.fetch('AMQP_PORT', '5672'))

  # bunny raises what ends a connection in the thread that made it, which would be that of the test, anywhere.
  class Ends
    attr_reader :errors

    def initialize
      @errors = Queue.new
    end

    def raise(error)
      @errors << error
    end
  end

  attr_reader :ends

  def initialize
    @opened = []
    @ends = Ends.new
  end

  # A connection that is closed after the test.
  def connect(**options)
    connection = Bunny.new(
      host: HOST, port: PORT, user: 'guest', pass: 'guest', vhost: '/', automatically_recover: false,
      continuation_timeout: Suite::STEP * 1000, connection_timeout: Suite::STEP, session_error_handler: @ends,
      logger: Logger.new(File::NULL), **options
    )
    @opened << connection
    connection.start
  end

  def connection
    @connection ||= connect
  end

  def channel
    @channel ||= open(connection)
  end

  # A channel whose consumers are served by one thread, so that deliveries stay in order.
  def open(connection)
    connection.create_channel
  end

  def close_all
    @opened.reverse_each do |connection|
      Timeout.timeout(5) { connection.close if connection.open? }
    rescue StandardError
      nil
    end
  end

  # A name that no other test, run or client uses.
  def unique(what)
    "interop.ruby.#{what}.#{SecureRandom.hex(6)}"
  end

  # A server-named queue of the connection, gone with it.
  def private_queue(on = channel)
    queue = on.queue('', exclusive: true)
    check(queue.name.start_with?('amq.gen-'), "server-named queue is called #{queue.name}")
    queue
  end

  # What comes next from a queue between threads.
  def take(from, what = 'delivery')
    Timeout.timeout(Suite::STEP, Timeout::Error, "no #{what} within #{Suite::STEP} s") { from.pop }
  end

  # Consumes; every delivery, as [delivery info, properties, body], goes into the queue that is returned.
  def inbox(queue, manual_ack: false, **options)
    received = Queue.new
    queue.subscribe(manual_ack: manual_ack, **options) { |info, properties, body| received << [info, properties, body] }
    received
  end

  def bodies(received, count)
    Array.new(count) { take(received).last }
  end

  # Checks that the queue holds these bodies in this order, and nothing else.
  def holds(expected, queue)
    queue.channel.default_exchange.publish('end', routing_key: queue.name)
    equal([*expected, 'end'], bodies(inbox(queue), expected.length + 1), queue.name)
  end

  # Waits until the block is true.
  def eventually(what)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + Suite::STEP
    until yield
      raise Failed, "#{what}: not within #{Suite::STEP} s" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep 0.02
    end
  end

  def check(holds, what)
    raise Failed, what unless holds
  end

  def equal(expected, got, what = '')
    raise Failed, "#{what}: #{got.inspect}, expected #{expected.inspect}" unless expected == got
  end

  # The error that the block raises, which has to be of this class.
  def raises(type)
    yield
  rescue type => error
    error
  else
    raise Failed, "no #{type}"
  end
end
