# What is published arrives as it was: size, properties, headers; and is routed by its headers.

sizes = lambda do |broker, connection|
  channel = broker.open(connection)
  queue = broker.private_queue(channel)
  received = broker.inbox(queue)
  [0, 1, 8184, 8185, 131_064, 131_065, 3_000_000].each do |size|
    body = Random.bytes(size)
    queue.publish(body)
    broker.check(broker.take(received).last == body, "a body of #{size} bytes arrives as another")
  end
end

test 'content: bodies of many frames' do
  sizes.call(self, connection)
end

test 'content: bodies of many small frames' do
  sizes.call(self, connect(frame_max: 8192))
end

test 'content: properties and headers' do
  headers = {
    'text' => 'Grüße'.b, 'yes' => true, 'no' => false, 'int' => 70_000, 'negative' => -8, 'long' => 2**40, 'float' => 1.5, 'nothing' => nil,
    'when' => Time.at(1_700_000_000), 'list' => [1, 'a', [2]], 'table' => { 'in' => { 'deep' => 'er' } }
  }
  properties = {
    content_type: 'application/json', content_encoding: 'gzip', headers: headers, delivery_mode: 2, priority: 7, correlation_id: 'correlation',
    reply_to: 'somewhere', expiration: '600000', message_id: 'id-1', timestamp: 1_700_000_000, type: 'event', user_id: 'guest',
    app_id: 'interop'
  }
  queue = private_queue
  channel.basic_publish('{}', '', queue.name, properties)
  _, got, body = take(inbox(queue))
  equal('{}', body)
  equal({ **properties, timestamp: Time.at(1_700_000_000) }, got.to_hash)
end

test 'content: headers exchange' do
  exchange = channel.headers(unique('headers'), auto_delete: true)
  all, any = %w[all any].map do |match|
    private_queue.bind(exchange, arguments: { 'x-match' => match, 'format' => 'pdf', 'pages' => 2 })
  end
  [{ 'format' => 'pdf', 'pages' => 2 }, { 'pages' => 2 }, { 'format' => 'zip' }].each_with_index do |headers, i|
    exchange.publish(i.to_s, headers: headers)
  end
  holds(%w[0], all)
  holds(%w[0 1], any)
end
