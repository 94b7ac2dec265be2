// Refusals: reply code, class and method, reply text, and that only the channel, or the whole connection, goes.

'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const amqp = require('amqplib');
const { brokerTest, connect, disconnect, inbox, once, openChannel, privateQueue, unique, url, within } = require('./support');

// Runs the call on a channel of its own; checks the refusal and that the connection survives it.
async function refused(connection, call, code, text) {
  const channel = await openChannel(connection);
  await assert.rejects(within(call(channel), 'refusal'), (error) => {
    assert.equal(error.code, code);
    assert.match(error.message, text);
    return true;
  });
  await (await openChannel(connection)).close();
}

// As `refused`, for methods without an answer of their own.
async function refusedLater(connection, call, code, text) {
  const channel = await openChannel(connection);
  const failed = once(channel, 'error');
  await call(channel);
  const error = await failed;
  assert.equal(error.code, code);
  assert.match(error.message, text);
  await (await openChannel(connection)).close();
}

brokerTest('404: queue, exchange', async ({ connection }) => {
  const none = unique('none');
  const queue = new RegExp(`NOT_FOUND - no queue '${none}' in vhost '/'`);
  const exchange = new RegExp(`NOT_FOUND - no exchange '${none}' in vhost '/'`);
  await refused(connection, (c) => c.checkQueue(none), 404, queue);
  await refused(connection, (c) => c.consume(none, () => {}), 404, queue);
  await refused(connection, (c) => c.get(none), 404, queue);
  await refused(connection, (c) => c.purgeQueue(none), 404, queue);
  await refused(connection, (c) => c.bindQueue(none, 'amq.direct', 'key'), 404, queue);
  await refused(connection, (c) => c.checkExchange(none), 404, exchange);
  await refused(connection, async (c) => c.bindQueue(await privateQueue(c), none, 'key'), 404, exchange);
  await refusedLater(connection, (c) => c.publish(none, 'key', Buffer.from('x')), 404, exchange);
});

brokerTest('405: the queue of another connection', async ({ connection, channel }) => {
  const queue = unique('locked');
  await channel.assertQueue(queue, { exclusive: true });
  const text = new RegExp(`RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${queue}' in vhost '/'`);
  const other = await connect();
  try {
    await refused(other, (c) => c.checkQueue(queue), 405, text);
    await refused(other, (c) => c.assertQueue(queue, { exclusive: true }), 405, text);
    await refused(other, (c) => c.consume(queue, () => {}), 405, text);
    await refused(other, (c) => c.deleteQueue(queue), 405, text);
    // Publishing to it is allowed.
    (await openChannel(other)).sendToQueue(queue, Buffer.from('hello'));
    assert.deepEqual(await (await inbox(channel, queue, { noAck: true })).bodies(1), ['hello']);
  } finally {
    await disconnect(other);
  }
  await refused(connection, (c) => c.checkQueue(unique('none')), 404, /NOT_FOUND/);
});

brokerTest('406: declared again with another property', async ({ connection, channel }) => {
  const queue = unique('inequivalent');
  await channel.assertQueue(queue, { durable: false });
  const durable = new RegExp(`PRECONDITION_FAILED - inequivalent arg 'durable' for queue '${queue}' in vhost '/': received 'true' but current is 'false'`);
  await refused(connection, (c) => c.assertQueue(queue, { durable: true }), 406, durable);
  await channel.deleteQueue(queue);

  // An exclusive queue is never durable, so this is no difference.
  const exclusive = unique('exclusive');
  await channel.assertQueue(exclusive, { durable: false, exclusive: true });
  await channel.assertQueue(exclusive, { durable: true, exclusive: true });

  const exchange = unique('inequivalent');
  await channel.assertExchange(exchange, 'fanout', { durable: false });
  const type = new RegExp(`PRECONDITION_FAILED - inequivalent arg 'type' for exchange '${exchange}' in vhost '/': received 'direct' but current is 'fanout'`);
  await refused(connection, (c) => c.assertExchange(exchange, 'direct', { durable: false }), 406, type);
  await channel.deleteExchange(exchange);
});

brokerTest('406: settled twice, in use, not empty', async ({ connection, channel }) => {
  const queue = unique('busy');
  await channel.assertQueue(queue, { durable: false, exclusive: true });
  channel.sendToQueue(queue, Buffer.from('x'));
  await refusedLater(
    connection,
    async (c) => {
      const message = await (await inbox(c, queue)).next();
      c.ack(message);
      c.ack(message);
    },
    406,
    /PRECONDITION_FAILED - unknown delivery tag 1/,
  );
  const confirmed = await openChannel(connection, { confirms: true });
  confirmed.sendToQueue(queue, Buffer.from('x'));
  await within(confirmed.waitForConfirms(), 'confirm');
  await refused(connection, (c) => c.deleteQueue(queue, { ifEmpty: true }), 406, new RegExp(`queue '${queue}' in vhost '/' not empty`));
  await inbox(channel, queue);
  await refused(connection, (c) => c.deleteQueue(queue, { ifUnused: true }), 406, new RegExp(`queue '${queue}' in vhost '/' in use`));
});

brokerTest('403: reserved names, exclusive consumers, system exchanges', async ({ connection, channel }) => {
  await refused(connection, (c) => c.assertQueue('amq.mine'), 403, /ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq\.\*'/);
  const serverNamed = await privateQueue(channel);
  await refused(connection, (c) => c.assertQueue(serverNamed, { exclusive: true }), 403, new RegExp(`queue name '${serverNamed}' contains reserved prefix 'amq\\.\\*'`));
  await refused(connection, (c) => c.assertExchange('amq.mine', 'direct'), 403, /ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq\.\*'/);
  await refused(connection, (c) => c.deleteExchange('amq.direct'), 403, /ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '\/' not allowed/);
  await refused(connection, (c) => c.deleteExchange(''), 403, /ACCESS_REFUSED - operation not permitted on the default exchange/);
  const queue = await privateQueue(channel);
  await inbox(channel, queue, { exclusive: true });
  await refused(connection, (c) => c.consume(queue, () => {}), 403, new RegExp(`ACCESS_REFUSED - queue '${queue}' in vhost '/' in exclusive use`));
});

test('530: a consumer tag used twice ends the connection', async () => {
  const connection = await connect();
  try {
    const channel = await openChannel(connection);
    const queue = await privateQueue(channel);
    const closed = once(connection, 'error');
    await channel.consume(queue, () => {}, { consumerTag: 'twice' });
    channel.consume(queue, () => {}, { consumerTag: 'twice' }).catch(() => {});
    const error = await closed;
    assert.equal(error.code, 530);
    assert.match(error.message, /NOT_ALLOWED - attempt to reuse consumer tag 'twice'/);
  } finally {
    await disconnect(connection);
  }
});

test('a wrong password and an unknown vhost are refused', async () => {
  const wrong = new URL(url);
  wrong.password = 'wrong';
  await assert.rejects(within(amqp.connect(wrong.href), 'refusal'), /403 \(ACCESS-REFUSED\).*Login was refused using authentication mechanism PLAIN/);
  await assert.rejects(within(amqp.connect(`${url}/${unique('vhost')}`), 'refusal'), /ConnectionClose/);
});
