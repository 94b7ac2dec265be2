// The handshake, and what heartbeats are for.

'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { brokerTest, connect, disconnect, openChannel, privateQueue } = require('./support');

brokerTest('properties of the server', async ({ connection }) => {
  const properties = connection.connection.serverProperties;
  for (const name of ['product', 'version', 'platform', 'copyright', 'information', 'cluster_name']) assert.ok(properties[name], name);
  const needed = ['publisher_confirms', 'exchange_exchange_bindings', 'basic.nack', 'consumer_cancel_notify', 'connection.blocked', 'authentication_failure_close'];
  for (const name of needed) assert.equal(properties.capabilities[name], true, name);
});

test('tuning', async () => {
  const connection = await connect('?frameMax=8192&channelMax=5&heartbeat=20');
  try {
    const { frameMax, channelMax, heartbeat } = connection.connection;
    assert.deepEqual({ frameMax, channelMax, heartbeat }, { frameMax: 8192, channelMax: 5, heartbeat: 20 });
    for (let i = 0; i < 5; i++) await openChannel(connection);
  } finally {
    await disconnect(connection);
  }
});

test('a quiet connection survives several heartbeats', async () => {
  const connection = await connect('?heartbeat=2');
  try {
    const channel = await openChannel(connection);
    await new Promise((resolve) => setTimeout(resolve, 5000));
    assert.ok(await privateQueue(channel));
  } finally {
    await disconnect(connection);
  }
});
