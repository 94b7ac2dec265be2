// Channels: many on a connection, numbers used again, one closed without harm to the others.

'use strict';

const assert = require('node:assert/strict');
const { brokerTest, inbox, once, openChannel, privateQueue, unique } = require('./support');

brokerTest('the number of a closed channel is used again', async ({ connection }) => {
  const first = await openChannel(connection);
  const number = first.ch;
  await first.close();
  for (let i = 0; i < 20; i++) {
    const again = await openChannel(connection);
    assert.equal(again.ch, number);
    const queue = await privateQueue(again);
    again.sendToQueue(queue, Buffer.from(String(i)));
    const message = await (await inbox(again, queue)).next();
    assert.equal(message.fields.deliveryTag, 1);
    await again.close();
  }
});

brokerTest('the number of a channel closed by the broker is used again', async ({ connection }) => {
  const first = await openChannel(connection);
  const number = first.ch;
  const failed = once(first, 'error');
  await assert.rejects(first.checkQueue(unique('none')), { code: 404 });
  await failed;
  const again = await openChannel(connection);
  assert.equal(again.ch, number);
  assert.ok(await privateQueue(again));
});

brokerTest('many channels side by side', async ({ connection, channel }) => {
  const queue = await privateQueue(channel);
  const received = await inbox(channel, queue, { noAck: true });
  const channels = await Promise.all(Array.from({ length: 100 }, () => openChannel(connection)));
  assert.equal(new Set(channels.map((c) => c.ch)).size, 100);
  channels.forEach((c, i) => c.sendToQueue(queue, Buffer.from(String(i))));
  const bodies = await received.bodies(100);
  assert.deepEqual(bodies.map(Number).sort((a, b) => a - b), [...Array(100).keys()]);
  await Promise.all(channels.map((c) => c.close()));
});

brokerTest('one channel fails, another keeps its consumer', async ({ connection, channel }) => {
  const queue = await privateQueue(channel);
  const received = await inbox(channel, queue, { noAck: true });
  const failing = await openChannel(connection);
  await assert.rejects(failing.checkExchange(unique('none')), { code: 404 });
  channel.sendToQueue(queue, Buffer.from('still here'));
  assert.deepEqual(await received.bodies(1), ['still here']);
});

brokerTest('messages of one channel stay in order', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const received = await inbox(channel, queue, { noAck: true });
  for (let i = 0; i < 2000; i++) channel.sendToQueue(queue, Buffer.from(String(i)));
  assert.deepEqual((await received.bodies(2000)).map(Number), [...Array(2000).keys()]);
});
