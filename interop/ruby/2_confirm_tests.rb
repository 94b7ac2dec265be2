# Publisher confirms, returned messages, transactions.

test 'confirms: all is confirmed' do
  queue = channel.queue(unique('confirmed'), durable: true)
  channel.confirm_select
  300.times { |i| queue.publish(i.to_s, persistent: (i % 3).zero?) }
  check(channel.wait_for_confirms, 'some publishes were refused')
  check(channel.unconfirmed_set.empty?, 'some publishes are not confirmed')
  equal(300, queue.message_count)
  queue.delete
end

test 'confirms: every tag is heard once' do
  open_tags = (1..200).to_a
  problems = []
  channel.confirm_select(lambda do |tag, multiple, nack|
    problems << "refused: #{tag}" if nack
    if multiple
      open_tags.reject! { |other| other <= tag }
    else
      open_tags.delete(tag) or problems << "confirmed twice: #{tag}"
    end
  end)
  queue = private_queue
  200.times { |i| queue.publish(i.to_s) }
  check(channel.wait_for_confirms, 'some publishes were refused')
  equal([], open_tags)
  equal([], problems)
end

test 'confirms: a mandatory message is returned before it is confirmed' do
  events = Queue.new
  channel.confirm_select(->(tag, _, nack) { events << [nack ? 'nack' : 'ack', tag] })
  exchange = channel.direct('amq.direct', durable: true)
  exchange.on_return { |info, properties, body| events << [info.reply_code, info.reply_text, info.exchange, info.routing_key, properties[:content_type], body] }
  key = unique('nowhere')
  exchange.publish('come back', routing_key: key, mandatory: true, content_type: 'text/plain')
  equal([312, 'NO_ROUTE', 'amq.direct', key, 'text/plain', 'come back'], take(events, 'return'))
  equal(['ack', 1], take(events, 'confirm'))
end

test 'confirms: an unroutable message is confirmed' do
  channel.confirm_select
  channel.direct('amq.direct', durable: true).publish('lost', routing_key: unique('nowhere'))
  check(channel.wait_for_confirms, 'it was refused')
end

test 'confirms: a full queue refuses' do
  queue = channel.queue(unique('full'), exclusive: true, arguments: { 'x-max-length' => 1, 'x-overflow' => 'reject-publish' })
  channel.confirm_select
  queue.publish('fits')
  check(channel.wait_for_confirms, 'the first is refused')
  queue.publish('one too many')
  equal(false, channel.wait_for_confirms)
  equal([2], channel.nacked_set.to_a)
end

test 'transaction' do
  queue = private_queue
  channel.tx_select
  queue.publish('rolled back')
  channel.tx_rollback
  queue.publish('committed')
  equal([nil, nil, nil], queue.pop)
  channel.tx_commit
  equal('committed', queue.pop.last)
  channel.tx_commit
  equal([nil, nil, nil], queue.pop)
end
