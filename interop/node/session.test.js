// One session with a little of everything. What this client says in it is kept as a transcript: tests/transcripts/clients.

'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { connect, inbox, once, openChannel, privateQueue, within } = require('./support');

test('session', async () => {
  const [exchange, queue] = ['session.node', 'session.node.queue'];
  const connection = await connect('?frameMax=8192');
  const channel = await openChannel(connection, { confirms: true });
  await channel.assertExchange(exchange, 'topic', { durable: true });
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-max-length': 100, 'x-queue-mode': 'lazy' } });
  await channel.bindQueue(queue, exchange, 'key.#');

  const publish = async (key, body, options) => {
    channel.publish(exchange, key, Buffer.from(body), options);
    await within(channel.waitForConfirms(), 'confirm');
  };
  await publish('key.1', 'first', {
    headers: { text: 'Grüße', number: 7, long: 2 ** 40, yes: true, list: ['a', 1], table: { in: 1.5 } },
    contentType: 'text/plain',
    persistent: true,
    priority: 3,
    correlationId: 'c1',
    replyTo: 'nobody',
    messageId: 'm1',
    timestamp: 1700000000,
    type: 'event',
    userId: 'guest',
    appId: 'session',
  });
  await publish('key.2', 'x'.repeat(20000), { mandatory: true });
  await publish('key.3', '');
  const returned = once(channel, 'return');
  await publish('other', 'comes back', { mandatory: true });
  assert.equal((await returned).fields.replyCode, 312);

  const got = await channel.get(queue);
  assert.equal(got.content.toString(), 'first');
  channel.nack(got);
  await channel.prefetch(2);
  const received = await inbox(channel, queue, { consumerTag: 'session' });
  assert.equal((await received.next()).fields.redelivered, true);
  channel.ack(await received.next(), true);
  channel.reject(await received.next(), false);
  await channel.cancel('session');

  const second = await openChannel(connection);
  const own = await privateQueue(second);
  const mine = await inbox(second, own, { noAck: true });
  second.sendToQueue(own, Buffer.from('to itself'));
  assert.deepEqual(await mine.bodies(1), ['to itself']);
  await assert.rejects(second.checkQueue('session.node.none'), { code: 404 });

  await channel.purgeQueue(queue);
  await channel.unbindQueue(queue, exchange, 'key.#');
  await channel.deleteQueue(queue);
  await channel.deleteExchange(exchange);
  await channel.close();
  await within(connection.close(), 'close-ok');
});
