// Publisher confirms and returned messages.

'use strict';

const assert = require('node:assert/strict');
const { brokerTest, inbox, once, openChannel, privateQueue, unique, within } = require('./support');

brokerTest('waitForConfirms returns when all is confirmed', async ({ connection, channel }) => {
  const queue = unique('confirmed');
  await channel.assertQueue(queue, { durable: true });
  try {
    const publisher = await openChannel(connection, { confirms: true });
    for (let i = 0; i < 500; i++) publisher.sendToQueue(queue, Buffer.from(String(i)), { persistent: i % 2 === 0 });
    await within(publisher.waitForConfirms(), 'confirms');
    assert.equal((await channel.checkQueue(queue)).messageCount, 500);
    await publisher.waitForConfirms();
  } finally {
    await channel.deleteQueue(queue);
  }
});

brokerTest('every confirm callback is called, in order', async ({ connection }) => {
  const publisher = await openChannel(connection, { confirms: true });
  const queue = await privateQueue(publisher);
  const confirmed = [];
  await within(
    new Promise((resolve, reject) => {
      for (let i = 0; i < 50; i++) {
        publisher.sendToQueue(queue, Buffer.from(String(i)), {}, (error) => {
          if (error) reject(error);
          if (confirmed.push(i) === 50) resolve();
        });
      }
    }),
    'confirms',
  );
  assert.deepEqual(confirmed, [...Array(50).keys()]);
});

brokerTest('an unroutable message is confirmed', async ({ connection }) => {
  const publisher = await openChannel(connection, { confirms: true });
  publisher.publish('amq.direct', unique('nowhere'), Buffer.from('lost'));
  await within(publisher.waitForConfirms(), 'confirm');
});

brokerTest('mandatory: the return comes before the confirm', async ({ connection }) => {
  const publisher = await openChannel(connection, { confirms: true });
  const key = unique('nowhere');
  const events = [];
  publisher.on('return', (message) => events.push(message));
  const options = { mandatory: true, contentType: 'text/plain', headers: { n: 1 } };
  publisher.publish('amq.direct', key, Buffer.from('come back'), options, () => events.push('confirm'));
  await within(publisher.waitForConfirms(), 'confirm');

  assert.equal(events.length, 2);
  const [returned, confirm] = events;
  assert.equal(confirm, 'confirm');
  const { replyCode, replyText, exchange, routingKey } = returned.fields;
  assert.deepEqual({ replyCode, replyText, exchange, routingKey }, { replyCode: 312, replyText: 'NO_ROUTE', exchange: 'amq.direct', routingKey: key });
  assert.equal(returned.content.toString(), 'come back');
  assert.equal(returned.properties.contentType, 'text/plain');
  assert.deepEqual(returned.properties.headers, { n: 1 });
});

brokerTest('mandatory: no confirms, still a return; a routable message is not returned', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const received = await inbox(channel, queue, { noAck: true });
  const returns = [];
  channel.on('return', (message) => returns.push(message.content.toString()));
  const returned = once(channel, 'return');
  channel.publish('', queue, Buffer.from('arrives'), { mandatory: true });
  channel.publish('', unique('nowhere'), Buffer.from('returns'), { mandatory: true });
  assert.equal((await received.next()).content.toString(), 'arrives');
  await returned;
  assert.deepEqual(returns, ['returns']);
});

brokerTest('waitForConfirms fails when the channel is closed under it', async ({ connection }) => {
  const publisher = await openChannel(connection, { confirms: true });
  publisher.publish(unique('no-exchange'), 'key', Buffer.from('x'));
  await assert.rejects(within(publisher.waitForConfirms(), 'answer'), /channel closed/);
});
