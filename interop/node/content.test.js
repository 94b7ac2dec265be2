// What is published arrives as it was: size, properties, headers.

'use strict';

const assert = require('node:assert/strict');
const { createHash, randomBytes } = require('node:crypto');
const { test } = require('node:test');
const { brokerTest, connect, disconnect, inbox, openChannel, privateQueue } = require('./support');

const digest = (content) => createHash('sha256').update(content).digest('hex');

brokerTest('bodies of no bytes, of one frame, of many', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const received = await inbox(channel, queue, { noAck: true });
  // 131064 is what fits in one frame of the usual 131072.
  for (const size of [0, 1, 131063, 131064, 131065, 262129, 10_000_000]) {
    const body = randomBytes(size);
    channel.sendToQueue(queue, body);
    const message = await received.next();
    assert.equal(message.content.length, size);
    assert.equal(digest(message.content), digest(body));
  }
});

test('large messages with the smallest frames', async () => {
  const connection = await connect('?frameMax=8192');
  try {
    const channel = await openChannel(connection);
    const queue = await privateQueue(channel);
    const received = await inbox(channel, queue, { noAck: true });
    const body = randomBytes(1_000_000);
    channel.sendToQueue(queue, body);
    assert.equal(digest((await received.next()).content), digest(body));
  } finally {
    await disconnect(connection);
  }
});

brokerTest('all properties', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const properties = {
    contentType: 'application/json',
    contentEncoding: 'gzip',
    headers: {},
    deliveryMode: 2,
    priority: 7,
    correlationId: 'correlation',
    replyTo: 'somewhere',
    expiration: '600000',
    messageId: 'id-1',
    timestamp: 1700000000,
    type: 'event',
    userId: 'guest',
    appId: 'interop',
  };
  channel.sendToQueue(queue, Buffer.from('{}'), properties);
  channel.sendToQueue(queue, Buffer.from('bare'), { deliveryMode: false });
  const received = await inbox(channel, queue, { noAck: true });
  const first = (await received.next()).properties;
  for (const [name, value] of Object.entries(properties)) assert.deepEqual(first[name], value, name);
  const bare = (await received.next()).properties;
  for (const name of ['contentType', 'correlationId', 'expiration', 'messageId', 'timestamp']) assert.equal(bare[name], undefined, name);
});

brokerTest('headers of every type', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const headers = {
    text: 'Grüße, 世界',
    empty: '',
    yes: true,
    no: false,
    small: -7,
    short: 300,
    int: 70000,
    long: 2 ** 40,
    fraction: 1.5,
    nothing: null,
    bytes: Buffer.from([0, 1, 255]),
    list: ['a', 1, ['nested'], { deep: true }],
    table: { a: { b: { c: [] } } },
    when: { '!': 'timestamp', value: 1700000000 },
    price: { '!': 'decimal', value: { digits: 12345, places: 2 } },
    single: { '!': 'float', value: 0.25 },
  };
  channel.sendToQueue(queue, Buffer.from('x'), { headers });
  const got = (await (await inbox(channel, queue, { noAck: true })).next()).properties.headers;
  // amqplib gives back single floats as plain numbers.
  assert.deepEqual(got, { ...headers, single: 0.25 });
});
