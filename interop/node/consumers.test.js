// Consumers: how they end, what they return, who is served.

'use strict';

const assert = require('node:assert/strict');
const { brokerTest, inbox, openChannel, privateQueue, unique } = require('./support');

brokerTest('deleting the queue cancels its consumers', async ({ connection, channel }) => {
  const queue = unique('deleted');
  await channel.assertQueue(queue, { durable: false });
  const other = await openChannel(connection);
  const first = await inbox(channel, queue);
  const second = await inbox(other, queue);
  assert.deepEqual(await other.deleteQueue(queue), { messageCount: 0 });
  assert.equal(await first.next(), null);
  assert.equal(await second.next(), null);
  // The channel lives on.
  assert.ok(await privateQueue(channel));
});

brokerTest('a cancelled consumer gets nothing more, its tag may be used again', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const first = await inbox(channel, queue, { consumerTag: 'mine', noAck: true });
  assert.equal(first.consumerTag, 'mine');
  assert.deepEqual(await channel.cancel('mine'), { consumerTag: 'mine' });
  channel.sendToQueue(queue, Buffer.from('later'));
  const second = await inbox(channel, queue, { consumerTag: 'mine', noAck: true });
  assert.deepEqual(await second.bodies(1), ['later']);
  assert.equal(first.waiting(), 0);
});

brokerTest('the server names a consumer that has no name', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const { consumerTag } = await inbox(channel, queue);
  assert.match(consumerTag, /^amq\.ctag-/);
});

brokerTest('an auto-delete queue goes with its last consumer', async ({ connection, channel }) => {
  const queue = unique('auto-delete');
  await channel.assertQueue(queue, { durable: false, autoDelete: true });
  const first = await inbox(channel, queue);
  const second = await inbox(channel, queue);
  await channel.cancel(first.consumerTag);
  assert.equal((await channel.checkQueue(queue)).consumerCount, 1);
  await channel.cancel(second.consumerTag);
  const probe = await openChannel(connection);
  await assert.rejects(probe.checkQueue(queue), { code: 404 });
});

brokerTest('nack and reject put a message back where it was', async ({ connection, channel }) => {
  const queue = await privateQueue(channel);
  for (const body of ['1', '2', '3', '4', '5']) channel.sendToQueue(queue, Buffer.from(body));
  const taker = await openChannel(connection);
  const taken = await inbox(taker, queue);
  const messages = [];
  for (let i = 0; i < 5; i++) messages.push(await taken.next());
  taker.ack(messages[0]);
  taker.nack(messages[2], false, false);
  await taker.cancel(taken.consumerTag);
  taker.reject(messages[3], true);
  taker.nack(messages[1], false, true);
  taker.nackAll(true);
  await taker.close();

  const again = await inbox(channel, queue, { noAck: true });
  for (const body of ['2', '4', '5']) {
    const message = await again.next();
    assert.equal(message.content.toString(), body);
    assert.equal(message.fields.redelivered, true);
  }
});

brokerTest('ack with allUpTo settles all before it; recover brings back the rest', async ({ channel }) => {
  const queue = await privateQueue(channel);
  for (const body of ['1', '2', '3', '4']) channel.sendToQueue(queue, Buffer.from(body));
  const taken = await inbox(channel, queue);
  const messages = [];
  for (let i = 0; i < 4; i++) messages.push(await taken.next());
  channel.ack(messages[1], true);
  await channel.recover();
  for (const body of ['3', '4']) {
    const message = await taken.next();
    assert.equal(message.content.toString(), body);
    assert.equal(message.fields.redelivered, true);
  }
  channel.ackAll();
  assert.deepEqual(await channel.purgeQueue(queue), { messageCount: 0 });
});

brokerTest('consumers without a limit are served in turn', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const workers = [await inbox(channel, queue, { noAck: true }), await inbox(channel, queue, { noAck: true })];
  for (let i = 0; i < 10; i++) channel.sendToQueue(queue, Buffer.from(String(i)));
  const shares = [await workers[0].bodies(5), await workers[1].bodies(5)];
  assert.deepEqual(shares.flat().sort(), [...Array(10).keys()].map(String));
  for (const share of shares) assert.deepEqual(share, [...share].sort());
});

brokerTest('a global prefetch bounds what a channel holds', async ({ connection, channel }) => {
  const queue = await privateQueue(channel);
  const taker = await openChannel(connection);
  await taker.prefetch(2, true);
  const taken = await inbox(taker, queue);
  for (let i = 0; i < 4; i++) channel.sendToQueue(queue, Buffer.from(String(i)));
  const [first, second] = [await taken.next(), await taken.next()];
  await channel.checkQueue(queue);
  assert.equal(taken.waiting(), 0);
  taker.ack(second, true);
  assert.equal(first.content.toString(), '0');
  assert.deepEqual(await taken.bodies(2), ['2', '3']);
});

brokerTest('basic.get: a message, then none', async ({ channel }) => {
  const queue = await privateQueue(channel);
  assert.equal(await channel.get(queue), false);
  channel.sendToQueue(queue, Buffer.from('a'));
  channel.sendToQueue(queue, Buffer.from('b'));
  const message = await channel.get(queue);
  assert.equal(message.content.toString(), 'a');
  assert.equal(message.fields.messageCount, 1);
  channel.nack(message);
  assert.equal((await channel.get(queue, { noAck: true })).fields.redelivered, true);
  assert.equal((await channel.get(queue, { noAck: true })).content.toString(), 'b');
  assert.equal(await channel.get(queue), false);
});
