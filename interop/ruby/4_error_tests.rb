# Refusals: reply code, text, and that only the channel, or the whole connection, goes.

# The block is refused on a channel of its own, and the connection survives.
refused = lambda do |broker, type, code, text, &call|
  own = broker.open(broker.connection)
  error = broker.raises(type) { call.call(own) }
  broker.equal([code, text], [error.channel_close.reply_code, error.channel_close.reply_text])
  broker.check(broker.connection.open?, 'the connection has gone with the channel')
  broker.private_queue(broker.open(broker.connection)).delete
end

# The same for methods without an answer of their own. bunny calls back when a delivery tag was unknown, and only keeps the
# reason of all else.
refused_later = lambda do |broker, code, text, &call|
  own = broker.open(broker.connection)
  heard = nil
  own.on_error { |_, close| heard = close }
  call.call(own)
  close = nil
  broker.eventually('channel.close') { close = heard || own.instance_variable_get(:@last_channel_error)&.channel_close }
  broker.equal([code, text], [close.reply_code, close.reply_text])
  broker.check(broker.connection.open?, 'the connection has gone with the channel')
end

test 'refusal: 404' do
  none = unique('none')
  queue = "NOT_FOUND - no queue '#{none}' in vhost '/'"
  exchange = "NOT_FOUND - no exchange '#{none}' in vhost '/'"
  refused.call(self, Bunny::NotFound, 404, queue) { |own| own.queue(none, passive: true) }
  refused.call(self, Bunny::NotFound, 404, queue) { |own| own.basic_consume(none) {} }
  refused.call(self, Bunny::NotFound, 404, exchange) { |own| own.exchange_declare(none, 'direct', passive: true) }
  refused_later.call(self, 404, exchange) { |own| own.basic_publish('lost', none, 'key') }
end

test 'refusal: 405' do
  locked = open(connect).queue(unique('locked'), exclusive: true)
  text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '#{locked.name}' in vhost '/'. It could be originally declared" \
         ' on another connection or the exclusive property value does not match that of the original declaration.'
  refused.call(self, Bunny::ResourceLocked, 405, text) { |own| own.queue(locked.name, passive: true) }
  refused.call(self, Bunny::ResourceLocked, 405, text) { |own| own.queue_delete(locked.name) }
end

test 'refusal: 406' do
  queue = channel.queue(unique('there'), auto_delete: true)
  text = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '#{queue.name}' in vhost '/': received 'true' but current is 'false'"
  refused.call(self, Bunny::PreconditionFailed, 406, text) { |own| own.queue(queue.name, auto_delete: true, durable: true) }
  inbox(queue)
  in_use = "PRECONDITION_FAILED - queue '#{queue.name}' in vhost '/' in use"
  refused.call(self, Bunny::PreconditionFailed, 406, in_use) { |own| own.queue_delete(queue.name, if_unused: true) }
  refused_later.call(self, 406, 'PRECONDITION_FAILED - unknown delivery tag 9') { |own| own.basic_ack(9, false) }
end

test 'refusal: 403' do
  refused.call(self, Bunny::AccessRefused, 403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'") do |own|
    own.queue_declare('amq.mine', exclusive: true)
  end
  queue = private_queue
  queue.subscribe(exclusive: true) {}
  refused.call(self, Bunny::AccessRefused, 403, "ACCESS_REFUSED - queue '#{queue.name}' in vhost '/' in exclusive use") do |own|
    own.basic_consume(queue.name, '', true) {}
  end
end

test 'refusal: the whole connection' do
  own = connect(recover_from_connection_close: false)
  own.create_channel
  # A second time, which bunny itself never says.
  own.send_frame(AMQ::Protocol::Channel::Open.encode(1, ''))
  close = take(ends.errors, 'end of the connection').connection_close
  equal([504, "CHANNEL_ERROR - second 'channel.open' seen"], [close.reply_code, close.reply_text])
  eventually('closed') { !own.open? }
end
