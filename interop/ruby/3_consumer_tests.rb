# Consumers: how they end, what they return, who is served.

test 'consumer: deleting the queue cancels its consumers' do
  queue = channel.queue(unique('deleted'))
  other = open(connection)
  cancelled = Queue.new
  first = queue.subscribe(on_cancellation: ->(cancel) { cancelled << cancel.consumer_tag }) {}
  second = other.queue(queue.name).subscribe(on_cancellation: ->(cancel) { cancelled << cancel.consumer_tag }) {}
  queue.delete
  equal([first.consumer_tag, second.consumer_tag].sort, [take(cancelled, 'cancel'), take(cancelled, 'cancel')].sort)
  check(channel.open? && other.open?, 'a channel has gone with the queue')
  private_queue
end

test 'consumer: cancel by the client' do
  queue = private_queue
  received = Queue.new
  consumer = queue.subscribe(consumer_tag: 'mine') { |*message| received << message }
  equal('mine', consumer.cancel.consumer_tag)
  equal(0, queue.consumer_count)
  queue.publish('later')
  again = Queue.new
  queue.subscribe(consumer_tag: 'mine') { |*message| again << message }
  equal('later', take(again).last)
  check(received.empty?, 'a cancelled consumer got a message')
end

test 'consumer: the prefetch bounds what it holds' do
  queue = private_queue
  taker = open(connection)
  taker.prefetch(2)
  received = inbox(taker.queue(queue.name, passive: true), manual_ack: true)
  4.times { |i| queue.publish(i.to_s) }
  tags = Array.new(2) { take(received).first.delivery_tag }
  equal(2, queue.message_count)
  check(received.empty?, 'more than the prefetch')
  taker.ack(tags.last, true)
  equal(%w[2 3], bodies(received, 2))
end

test 'consumer: what it gives back goes to the old place' do
  queue = private_queue
  %w[1 2 3 4 5].each { |body| queue.publish(body) }
  taker = open(connection)
  received = Queue.new
  consumer = taker.queue(queue.name, passive: true).subscribe(manual_ack: true) { |info, _, _| received << info.delivery_tag }
  equal([1, 2, 3, 4, 5], Array.new(5) { Integer(take(received)) })
  taker.ack(1)
  taker.reject(3)
  consumer.cancel
  taker.nack(4, false, true)
  taker.reject(2, true)
  taker.close
  %w[2 4 5].each do |expected|
    info, _, body = queue.pop
    equal([expected, true], [body, info.redelivered?])
  end
  equal([nil, nil, nil], queue.pop)
end

test 'consumer: recover brings back what is not acknowledged' do
  queue = private_queue
  %w[1 2 3].each { |body| queue.publish(body) }
  received = inbox(queue, manual_ack: true)
  equal(%w[1 2 3], bodies(received, 3))
  channel.ack(2, true)
  channel.basic_recover(true)
  info, _, body = take(received)
  equal(['3', true], [body, info.redelivered?])
end

test 'consumer: get and purge' do
  queue = private_queue
  equal([nil, nil, nil], queue.pop)
  %w[a b].each { |body| queue.publish(body) }
  info, _, body = queue.pop(manual_ack: true)
  equal('a', body)
  channel.ack(info.delivery_tag)
  equal(1, channel.queue_purge(queue.name).message_count)
end
