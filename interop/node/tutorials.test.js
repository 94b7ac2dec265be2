// The six patterns of RabbitMQ's tutorials.

'use strict';

const assert = require('node:assert/strict');
const { brokerTest, inbox, openChannel, privateQueue, unique } = require('./support');

brokerTest('tutorial 1: hello', async ({ channel }) => {
  const queue = unique('hello');
  const declared = await channel.assertQueue(queue, { durable: false, autoDelete: true });
  assert.deepEqual(declared, { queue, messageCount: 0, consumerCount: 0 });

  channel.sendToQueue(queue, Buffer.from('Hello World!'));
  const received = await inbox(channel, queue, { noAck: true });
  const message = await received.next();
  assert.equal(message.content.toString(), 'Hello World!');
  assert.equal(message.fields.routingKey, queue);
  assert.equal(message.fields.exchange, '');
  assert.equal(message.fields.redelivered, false);
  assert.equal(message.fields.consumerTag, received.consumerTag);
});

brokerTest('tutorial 2: a worker gets its next task when it has acknowledged the last', async ({ connection, channel }) => {
  const queue = unique('tasks');
  await channel.assertQueue(queue, { durable: true });
  try {
    const workers = [];
    for (let i = 0; i < 2; i++) {
      const own = await openChannel(connection);
      await own.prefetch(1);
      workers.push({ own, tasks: await inbox(own, queue) });
    }
    for (const task of ['one', 'two', 'three', 'four']) {
      channel.sendToQueue(queue, Buffer.from(task), { persistent: true });
    }
    const [slow, quick] = workers;
    const held = await slow.tasks.next();
    const done = [];
    while (done.length < 3) {
      const task = await quick.tasks.next();
      assert.equal(task.properties.deliveryMode, 2);
      done.push(task.content.toString());
      quick.own.ack(task);
    }
    assert.equal(slow.tasks.waiting(), 0);
    assert.deepEqual([held.content.toString(), ...done].sort(), ['four', 'one', 'three', 'two']);
    slow.own.ack(held);
  } finally {
    await channel.deleteQueue(queue);
  }
});

brokerTest('tutorial 2: what a worker leaves unacknowledged goes to another', async ({ connection, channel }) => {
  const queue = unique('tasks');
  await channel.assertQueue(queue, { durable: true, autoDelete: false });
  try {
    const lost = await openChannel(connection);
    const first = await inbox(lost, queue);
    channel.sendToQueue(queue, Buffer.from('task'), { persistent: true });
    assert.equal((await first.next()).fields.redelivered, false);
    await lost.close();

    const second = await inbox(channel, queue);
    const again = await second.next();
    assert.equal(again.content.toString(), 'task');
    assert.equal(again.fields.redelivered, true);
    channel.ack(again);
  } finally {
    await channel.deleteQueue(queue);
  }
});

brokerTest('tutorial 3: publish/subscribe', async ({ channel }) => {
  const exchange = unique('logs');
  await channel.assertExchange(exchange, 'fanout', { durable: false, autoDelete: true });
  const queues = [await privateQueue(channel), await privateQueue(channel)];
  for (const queue of queues) {
    assert.match(queue, /^amq\.gen-/);
    await channel.bindQueue(queue, exchange, '');
  }
  channel.publish(exchange, 'ignored', Buffer.from('info: Hello World!'));
  for (const queue of queues) {
    const message = await (await inbox(channel, queue, { noAck: true })).next();
    assert.equal(message.content.toString(), 'info: Hello World!');
    assert.equal(message.fields.exchange, exchange);
  }
});

// Publishes every key as its own body, then checks which of them each queue got, in order.
async function routes(channel, type, bindings, keys, expected) {
  const exchange = unique(type);
  await channel.assertExchange(exchange, type, { durable: false, autoDelete: true });
  const queues = {};
  for (const [name, patterns] of Object.entries(bindings)) {
    queues[name] = await privateQueue(channel);
    for (const pattern of patterns) await channel.bindQueue(queues[name], exchange, pattern);
  }
  for (const key of keys) channel.publish(exchange, key, Buffer.from(key));
  for (const [name, queue] of Object.entries(queues)) {
    channel.sendToQueue(queue, Buffer.from('end'));
    const got = await (await inbox(channel, queue, { noAck: true })).bodies(expected[name].length + 1);
    assert.deepEqual(got, [...expected[name], 'end'], name);
  }
}

brokerTest('tutorial 4: routing', async ({ channel }) => {
  await routes(
    channel,
    'direct',
    { file: ['error'], screen: ['info', 'warning', 'error'] },
    ['info', 'error', 'debug', 'warning', 'error'],
    { file: ['error', 'error'], screen: ['info', 'error', 'warning', 'error'] },
  );
});

brokerTest('tutorial 5: topics', async ({ channel }) => {
  await routes(
    channel,
    'topic',
    { orange: ['*.orange.*'], rabbits: ['*.*.rabbit', 'lazy.#'], all: ['#'], kern: ['kern.*', '*.critical', '#.critical'] },
    [
      'quick.orange.rabbit',
      'lazy.orange.elephant',
      'quick.orange.fox',
      'lazy.brown.fox',
      'lazy.pink.rabbit',
      'quick.brown.fox',
      'orange',
      'quick.orange.new.rabbit',
      'lazy.orange.new.rabbit',
      'lazy',
      'kern.critical',
      'a.b.critical',
      '',
    ],
    {
      orange: ['quick.orange.rabbit', 'lazy.orange.elephant', 'quick.orange.fox'],
      rabbits: ['quick.orange.rabbit', 'lazy.orange.elephant', 'lazy.brown.fox', 'lazy.pink.rabbit', 'lazy.orange.new.rabbit', 'lazy'],
      all: [
        'quick.orange.rabbit',
        'lazy.orange.elephant',
        'quick.orange.fox',
        'lazy.brown.fox',
        'lazy.pink.rabbit',
        'quick.brown.fox',
        'orange',
        'quick.orange.new.rabbit',
        'lazy.orange.new.rabbit',
        'lazy',
        'kern.critical',
        'a.b.critical',
        '',
      ],
      kern: ['kern.critical', 'a.b.critical'],
    },
  );
});

const fibonacci = (n) => (n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2));

brokerTest('tutorial 6: RPC', async ({ connection, channel }) => {
  const requests = unique('rpc');
  const server = await openChannel(connection);
  await server.assertQueue(requests, { durable: false, autoDelete: true });
  await server.prefetch(1);
  await server.consume(requests, (request) => {
    const { replyTo, correlationId } = request.properties;
    server.sendToQueue(replyTo, Buffer.from(String(fibonacci(Number(request.content)))), { correlationId });
    server.ack(request);
  });

  const replyTo = await privateQueue(channel);
  const replies = await inbox(channel, replyTo, { noAck: true });
  const asked = new Map();
  for (let n = 0; n < 12; n++) {
    const correlationId = unique('call');
    asked.set(correlationId, n);
    channel.sendToQueue(requests, Buffer.from(String(n)), { replyTo, correlationId });
  }
  while (asked.size > 0) {
    const reply = await replies.next();
    const n = asked.get(reply.properties.correlationId);
    assert.notEqual(n, undefined);
    assert.equal(Number(reply.content), fibonacci(n));
    asked.delete(reply.properties.correlationId);
  }
});
