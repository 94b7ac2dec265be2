# The six patterns of RabbitMQ's tutorials.

test 'tutorial 1: hello' do
  queue = channel.queue(unique('hello'), auto_delete: true)
  equal({ message_count: 0, consumer_count: 0 }, queue.status)
  channel.default_exchange.publish('Hello World!', routing_key: queue.name)
  info, _, body = take(inbox(queue))
  equal(['Hello World!', queue.name, '', false], [body, info.routing_key, info.exchange, info.redelivered?])
end

test 'tutorial 2: a worker gets its next task when it has acknowledged the last' do
  queue = channel.queue(unique('tasks'), durable: true)
  workers = Array.new(2) do
    own = open(connection)
    own.prefetch(1)
    [own, inbox(own.queue(queue.name, durable: true), manual_ack: true)]
  end
  %w[one two three four].each { |task| queue.publish(task, persistent: true) }
  (slow, held), (quick, tasks) = workers
  first = take(held)
  done = Array.new(3) do
    info, properties, body = take(tasks)
    equal(2, properties.delivery_mode)
    quick.ack(info.delivery_tag)
    body
  end
  check(held.empty?, 'a second task came before the first was acknowledged')
  equal(%w[four one three two], [first.last, *done].sort)
  slow.ack(first.first.delivery_tag)
  queue.delete
end

test 'tutorial 2: what a worker leaves unacknowledged goes to another' do
  queue = channel.queue(unique('tasks'))
  lost = connect
  queue.publish('task')
  info, = take(inbox(open(lost).queue(queue.name), manual_ack: true))
  equal(false, info.redelivered?)
  lost.close
  info, _, body = take(inbox(queue, manual_ack: true))
  equal(['task', true], [body, info.redelivered?])
  channel.ack(info.delivery_tag)
  queue.delete
end

test 'tutorial 3: publish/subscribe' do
  logs = channel.fanout(unique('logs'), auto_delete: true)
  queues = Array.new(2) { private_queue.bind(logs) }
  logs.publish('info: Hello World!', routing_key: 'ignored')
  queues.each do |queue|
    info, _, body = take(inbox(queue))
    equal(['info: Hello World!', logs.name], [body, info.exchange])
  end
end

# Publishes every key as its own body, and checks which of them each queue gets, in order.
routes = lambda do |broker, type, keys, expected|
  exchange = broker.channel.exchange(broker.unique(type), type: type, auto_delete: true)
  queues = expected.keys.map do |patterns|
    queue = broker.private_queue
    patterns.each { |pattern| queue.bind(exchange, routing_key: pattern) }
    queue
  end
  keys.each { |key| exchange.publish(key, routing_key: key) }
  queues.zip(expected.values) { |queue, bodies| broker.holds(bodies, queue) }
end

test 'tutorial 4: routing' do
  routes.call(self, 'direct', %w[info error debug warning error],
              %w[error] => %w[error error], %w[info warning error] => %w[info error warning error])
end

test 'tutorial 5: topics' do
  keys = %w[quick.orange.rabbit lazy.orange.elephant quick.orange.fox lazy.brown.fox lazy.pink.rabbit quick.brown.fox orange
            quick.orange.new.rabbit lazy.orange.new.rabbit lazy]
  routes.call(self, 'topic', keys,
              %w[*.orange.*] => %w[quick.orange.rabbit lazy.orange.elephant quick.orange.fox],
              %w[*.*.rabbit lazy.#] => %w[quick.orange.rabbit lazy.orange.elephant lazy.brown.fox lazy.pink.rabbit
                                          lazy.orange.new.rabbit lazy],
              %w[#] => keys, %w[*] => %w[orange lazy],
              %w[#.rabbit] => %w[quick.orange.rabbit lazy.pink.rabbit quick.orange.new.rabbit lazy.orange.new.rabbit])
end

test 'tutorial 6: RPC' do
  fibonacci = ->(n) { n < 2 ? n : fibonacci.(n - 1) + fibonacci.(n - 2) }
  server = open(connection)
  server.prefetch(1)
  requests = server.queue(unique('rpc'), auto_delete: true)
  requests.subscribe(manual_ack: true) do |info, properties, body|
    server.default_exchange.publish(fibonacci.(Integer(body)).to_s, routing_key: properties.reply_to,
                                    correlation_id: properties.correlation_id)
    server.ack(info.delivery_tag)
  end
  reply_to = private_queue
  replies = inbox(reply_to)
  asked = (0...12).to_h { |n| [unique('call'), n] }
  asked.each { |id, n| channel.default_exchange.publish(n.to_s, routing_key: requests.name, reply_to: reply_to.name, correlation_id: id) }
  until asked.empty?
    _, properties, body = take(replies, 'reply')
    equal(fibonacci.(asked.delete(properties.correlation_id)), Integer(body))
  end
end
