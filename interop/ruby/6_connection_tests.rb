# The handshake, heartbeats, refused logins, and what bunny brings back after a restart of the broker.

require 'open3'

test 'connection: properties of the server' do
  %w[product version platform copyright information cluster_name].each do |name|
    check(connection.server_properties[name].to_s != '', "no #{name}")
  end
  capabilities = connection.server_properties['capabilities']
  %w[publisher_confirms exchange_exchange_bindings basic.nack consumer_cancel_notify connection.blocked authentication_failure_close].each do |name|
    equal(true, capabilities[name], name)
  end
end

test 'connection: tuning' do
  small = connect(frame_max: 8192, channel_max: 5, heartbeat: 20)
  equal([8192, 5, 20], [small.frame_max, small.channel_max, small.heartbeat])
  # bunny's own limit is one below what was agreed.
  4.times { small.create_channel }
end

test 'connection: it survives heartbeats' do
  own = connect(heartbeat: 1)
  on = open(own)
  sleep 3.5
  check(own.open?, 'it was dropped')
  private_queue(on)
end

test 'connection: refused logins' do
  raises(Bunny::AuthenticationFailureError) { connect(pass: 'wrong') }
  raises(Bunny::AuthenticationFailureError) { connect(user: 'nobody') }
  raises(Bunny::NotAllowedError) { connect(vhost: unique('vhost'), session_error_handler: Thread.current) }
end

# own_broker(NAME) { |run, port| … }: `run` starts, stops or kills the broker.
own_broker = lambda do |broker, name, &body|
  command = ENV['INTEROP_BROKER'].to_s
  raise Skipped, 'no WARRENMQ_BINARY' if command.empty?

  run = lambda do |verb|
    said, status = Open3.capture2(command, verb, name)
    broker.check(status.success?, "broker #{verb} failed")
    said.to_i
  end
  begin
    body.call(run, run.call('start'))
  ensure
    run.call('kill')
  end
end

%w[stop kill].each do |verb|
  test "restart: connection, topology and consumer come back after #{verb}" do
    own_broker.call(self, "ruby-#{verb}") do |run, port|
      # Nothing may be asked on the connection while bunny recovers it: the answers would be mixed up.
      recovered = Queue.new
      own = connect(port: port, automatically_recover: true, network_recovery_interval: 0.2, recover_from_connection_close: true,
                    recovery_completed: -> { recovered << true })
      on = open(own)
      on.confirm_select
      kept = on.queue('kept', durable: true)
      %w[a b c].each { |body| kept.publish(body, persistent: true) }
      check(on.wait_for_confirms, 'some publishes were refused')
      fleeting = on.queue('', exclusive: true)
      exchange = on.fanout('logs', durable: true)
      fleeting.bind(exchange)
      received = inbox(fleeting)
      exchange.publish('before')
      equal('before', take(received).last)

      run.call(verb)
      run.call('start')
      take(recovered, 'recovery')
      equal(1, fleeting.consumer_count)
      exchange.publish('after')
      equal('after', take(received).last)
      equal(%w[a b c], bodies(inbox(kept), 3))
    end
  end
end
