# One session with a little of everything. What this client says in it is kept as a transcript: tests/transcripts/clients.

test 'session' do
  own = connect(frame_max: 8192)
  on = open(own)
  exchange = on.topic('session.ruby', durable: true)
  queue = on.queue('session.ruby.queue', durable: true, arguments: { 'x-max-length' => 100, 'x-queue-mode' => 'lazy' })
  queue.bind(exchange, routing_key: 'key.#')

  returned = Queue.new
  exchange.on_return { |info, _, _| returned << info.reply_code }
  on.confirm_select
  publish = lambda do |key, body, **options|
    exchange.publish(body, routing_key: key, **options)
    check(on.wait_for_confirms, "#{key} was refused")
  end
  publish.call('key.1', 'first', persistent: true, content_type: 'text/plain', priority: 3, correlation_id: 'c1', reply_to: 'nobody',
                                 message_id: 'm1', timestamp: 1_700_000_000, type: 'event', user_id: 'guest', app_id: 'session',
                                 headers: { 'text' => 'Grüße', 'number' => 7, 'long' => 2**40, 'yes' => true, 'list' => ['a', 1],
                                            'table' => { 'in' => 1.5 } })
  publish.call('key.2', 'x' * 20_000, mandatory: true, persistent: false)
  publish.call('key.3', '', persistent: false)
  publish.call('other', 'comes back', mandatory: true, persistent: false)
  equal(312, take(returned, 'return'))

  info, _, body = queue.pop(manual_ack: true)
  equal('first', body)
  on.nack(info.delivery_tag, false, true)
  on.prefetch(2)
  received = Queue.new
  consumer = queue.subscribe(manual_ack: true, consumer_tag: 'session') { |delivery, _, _| received << delivery }
  check(take(received).redelivered?, 'it was not redelivered')
  on.ack(take(received).delivery_tag, true)
  on.reject(take(received).delivery_tag, false)
  consumer.cancel

  second = open(own)
  mine = private_queue(second)
  bodies_of_mine = inbox(mine, consumer_tag: 'itself')
  mine.publish('to itself', persistent: false)
  equal('to itself', take(bodies_of_mine).last)
  raises(Bunny::NotFound) { second.queue('session.ruby.none', passive: true) }

  queue.purge
  queue.unbind(exchange, routing_key: 'key.#')
  queue.delete
  exchange.delete
  on.close
  own.close
end
