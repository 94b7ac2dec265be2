// Routing beyond the tutorials: headers, bindings between exchanges, alternate exchanges, life cycle.

'use strict';

const assert = require('node:assert/strict');
const { brokerTest, inbox, openChannel, privateQueue, unique } = require('./support');

brokerTest('headers exchange: all and any', async ({ channel }) => {
  const exchange = unique('headers');
  await channel.assertExchange(exchange, 'headers', { durable: false, autoDelete: true });
  const bindings = {
    all: { 'x-match': 'all', format: 'pdf', type: 'report' },
    any: { 'x-match': 'any', format: 'pdf', type: 'report' },
    byDefault: { format: 'zip', pages: 3 },
    every: {},
  };
  const queues = {};
  for (const [name, args] of Object.entries(bindings)) {
    queues[name] = await privateQueue(channel);
    await channel.bindQueue(queues[name], exchange, '', args);
  }
  const published = {
    both: { format: 'pdf', type: 'report', more: true },
    one: { format: 'pdf', type: 'log' },
    none: { format: 'txt' },
    zip: { format: 'zip', pages: 3 },
    wrong: { format: 'zip', pages: 4 },
  };
  for (const [body, headers] of Object.entries(published)) channel.publish(exchange, 'any key', Buffer.from(body), { headers });
  const expected = { all: ['both'], any: ['both', 'one'], byDefault: ['zip'], every: Object.keys(published) };
  for (const [name, queue] of Object.entries(queues)) {
    channel.sendToQueue(queue, Buffer.from('end'));
    const got = await (await inbox(channel, queue, { noAck: true })).bodies(expected[name].length + 1);
    assert.deepEqual(got, [...expected[name], 'end'], name);
  }
});

brokerTest('an exchange bound to an exchange, and unbound', async ({ channel }) => {
  const source = unique('source');
  const target = unique('target');
  await channel.assertExchange(source, 'topic', { durable: false });
  await channel.assertExchange(target, 'fanout', { durable: false });
  const queue = await privateQueue(channel);
  await channel.bindExchange(target, source, 'a.#');
  await channel.bindQueue(queue, target, '');
  channel.publish(source, 'a.b', Buffer.from('through'));
  channel.publish(source, 'b.a', Buffer.from('no'));
  const received = await inbox(channel, queue, { noAck: true });
  assert.deepEqual(await received.bodies(1), ['through']);

  await channel.unbindExchange(target, source, 'a.#');
  channel.publish(source, 'a.b', Buffer.from('no'));
  channel.publish(target, '', Buffer.from('end'));
  assert.deepEqual(await received.bodies(1), ['end']);
  await channel.deleteExchange(source);
  await channel.deleteExchange(target);
});

brokerTest('alternate exchange takes what is not routed', async ({ channel }) => {
  const alternate = unique('alternate');
  const exchange = unique('first');
  await channel.assertExchange(alternate, 'fanout', { durable: false, autoDelete: true });
  await channel.assertExchange(exchange, 'direct', { durable: false, autoDelete: true, alternateExchange: alternate });
  const [routed, rest] = [await privateQueue(channel), await privateQueue(channel)];
  await channel.bindQueue(routed, exchange, 'known');
  await channel.bindQueue(rest, alternate, '');
  channel.publish(exchange, 'known', Buffer.from('routed'));
  channel.publish(exchange, 'unknown', Buffer.from('rest'), { mandatory: true });
  assert.deepEqual(await (await inbox(channel, routed, { noAck: true })).bodies(1), ['routed']);
  const message = await (await inbox(channel, rest, { noAck: true })).next();
  assert.equal(message.content.toString(), 'rest');
  assert.equal(message.fields.exchange, exchange);
  assert.equal(message.fields.routingKey, 'unknown');
});

brokerTest('the predeclared exchanges are there', async ({ channel }) => {
  for (const name of ['amq.direct', 'amq.fanout', 'amq.topic', 'amq.headers', 'amq.match']) await channel.checkExchange(name);
  const type = { 'amq.direct': 'direct', 'amq.fanout': 'fanout', 'amq.topic': 'topic', 'amq.headers': 'headers', 'amq.match': 'headers' };
  for (const [name, kind] of Object.entries(type)) assert.deepEqual(await channel.assertExchange(name, kind), { exchange: name });
});

brokerTest('an auto-delete exchange goes with its last binding', async ({ connection, channel }) => {
  const exchange = unique('auto-delete');
  await channel.assertExchange(exchange, 'direct', { durable: false, autoDelete: true });
  const queue = await privateQueue(channel);
  await channel.bindQueue(queue, exchange, 'a');
  await channel.bindQueue(queue, exchange, 'b');
  await channel.unbindQueue(queue, exchange, 'a');
  await channel.checkExchange(exchange);
  await channel.unbindQueue(queue, exchange, 'b');
  await assert.rejects((await openChannel(connection)).checkExchange(exchange), { code: 404 });
});

brokerTest('a message goes once to a queue that is bound twice', async ({ channel }) => {
  const queue = await privateQueue(channel);
  const key = unique('key');
  await channel.bindQueue(queue, 'amq.topic', key);
  await channel.bindQueue(queue, 'amq.topic', `${key}.#`);
  channel.publish('amq.topic', key, Buffer.from('once'));
  channel.sendToQueue(queue, Buffer.from('end'));
  assert.deepEqual(await (await inbox(channel, queue, { noAck: true })).bodies(2), ['once', 'end']);
});

brokerTest('deleting what is not there succeeds', async ({ channel }) => {
  assert.deepEqual(await channel.deleteQueue(unique('none')), { messageCount: 0 });
  await channel.deleteExchange(unique('none'));
  await channel.unbindQueue(await privateQueue(channel), 'amq.direct', unique('none'));
});
