// Services and clients of NestJS on its RMQ transport: requests with replies over direct reply-to, events, acknowledgements by
// hand, exchanges with wildcards and fanout, and a broker that is restarted.

import assert from 'node:assert/strict';
import { execSync } from 'node:child_process';
import { Logger } from '@nestjs/common';
import { RmqRecordBuilder } from '@nestjs/microservices';
import { firstValueFrom, from, lastValueFrom, timeout, toArray } from 'rxjs';
import { eventually, nestTest, url } from './app.js';

Logger.overrideLogger(false);

const ask = (client, pattern, data) => firstValueFrom(client.send(pattern, data).pipe(timeout(20000)));
const tell = (client, pattern, data) => lastValueFrom(client.emit(pattern, data), { defaultValue: undefined });

nestTest('requests have replies', async ({ name, serve, client }) => {
  const queue = name('sums');
  await serve({ messages: { sum: (numbers) => numbers.reduce((a, b) => a + b, 0) } }, { queue });
  const asking = client({ queue });
  assert.equal(await ask(asking, 'sum', [1, 2, 3]), 6);
  const many = await Promise.all(Array.from({ length: 200 }, (_, n) => ask(asking, 'sum', [n, n])));
  assert.deepEqual(many, Array.from({ length: 200 }, (_, n) => 2 * n));
});

nestTest('a reply may be a stream', async ({ name, serve, client }) => {
  const queue = name('streams');
  await serve({ messages: { count: (to) => from(Array.from({ length: to }, (_, n) => n)) } }, { queue });
  const stream = client({ queue }).send('count', 5).pipe(timeout(20000), toArray());
  assert.deepEqual(await firstValueFrom(stream), [0, 1, 2, 3, 4]);
});

nestTest('an error comes back as one, and so does a pattern that nobody has', async ({ name, serve, client }) => {
  const queue = name('errors');
  await serve({ messages: { fail: () => { throw new Error('on purpose'); } } }, { queue });
  const asking = client({ queue });
  await assert.rejects(ask(asking, 'fail', 1));
  await assert.rejects(ask(asking, 'unknown', 1), /no matching message handler/i);
});

nestTest('replies in a queue of its own', async ({ name, serve, client, channel }) => {
  const [queue, replyQueue] = [name('requests'), name('replies')];
  await channel.assertQueue(replyQueue);
  await serve({ messages: { echo: (data) => data } }, { queue });
  assert.deepEqual(await ask(client({ queue, replyQueue }), 'echo', { a: [1] }), { a: [1] });
});

nestTest('events', async ({ name, serve, client }) => {
  const queue = name('events');
  const got = [];
  await serve({ events: { happened: (data) => void got.push(data) } }, { queue });
  const telling = client({ queue });
  for (let n = 0; n < 100; n++) await tell(telling, 'happened', n);
  await eventually(() => got.length === 100, 'all events');
  assert.deepEqual(got, Array.from({ length: 100 }, (_, n) => n));
});

nestTest('events wait in a durable queue for their service', async ({ name, serve, client, channel }) => {
  const queue = name('waiting');
  const telling = client({ queue, queueOptions: { durable: true }, persistent: true });
  await tell(telling, 'happened', 'before');
  await eventually(async () => (await channel.checkQueue(queue)).messageCount === 1, 'message in the queue');
  const got = [];
  await serve({ events: { happened: (data) => void got.push(data) } }, { queue, queueOptions: { durable: true } });
  await eventually(() => got[0] === 'before', 'event');
});

nestTest('properties of a record', async ({ name, serve, client }) => {
  const queue = name('records');
  await serve({
    messages: {
      properties: (data, context) => {
        const { headers, priority, messageId } = context.getMessage().properties;
        return { data, headers, priority, messageId };
      },
    },
  }, { queue, queueOptions: { maxPriority: 5 } });
  const record = new RmqRecordBuilder('body').setOptions({ headers: { 'x-version': '1' }, priority: 3, messageId: 'm' }).build();
  assert.deepEqual(await ask(client({ queue, queueOptions: { maxPriority: 5 } }), 'properties', record),
    { data: 'body', headers: { 'x-version': '1' }, priority: 3, messageId: 'm' });
});

nestTest('acknowledged by hand, and dead letters', async ({ name, serve, client, channel }) => {
  const [queue, dead] = [name('manual'), name('dead')];
  await channel.assertQueue(dead);
  const tries = [];
  const settings = { queue, noAck: false, prefetchCount: 1, queueOptions: { deadLetterExchange: '', deadLetterRoutingKey: dead } };
  await serve({
    events: {
      work: (data, context) => {
        const message = context.getMessage();
        tries.push(`${data} ${message.fields.redelivered}`);
        if (data === 'poison') context.getChannelRef().nack(message, false, false);
        else if (message.fields.redelivered) context.getChannelRef().ack(message);
        else context.getChannelRef().nack(message, false, true);
      },
    },
  }, settings);
  const { noAck, ...telling } = settings;
  const sender = client(telling);
  await tell(sender, 'work', 'once more');
  await tell(sender, 'work', 'poison');
  let letter;
  await eventually(async () => (letter = await channel.get(dead, { noAck: true })), 'dead letter');
  assert.equal(JSON.parse(letter.content).data, 'poison');
  assert.equal(letter.properties.headers['x-death'][0].reason, 'rejected');
  await eventually(() => tries.length === 3, 'three tries');
  assert.deepEqual(tries.toSorted(), ['once more false', 'once more true', 'poison false']);
});

nestTest('an event that nobody handles is rejected', async ({ name, serve, client, channel }) => {
  const [queue, dead] = [name('unhandled'), name('dead')];
  await channel.assertQueue(dead);
  const queueOptions = { deadLetterExchange: '', deadLetterRoutingKey: dead };
  await serve({ events: { known: () => {} } }, { queue, noAck: false, queueOptions });
  await tell(client({ queue, queueOptions }), 'unknown', 1);
  await eventually(async () => (await channel.checkQueue(dead)).messageCount === 1, 'dead letter');
});

nestTest('wildcards of a topic exchange', async ({ name, serve, client }) => {
  const [exchange, queue] = [name('topics'), name('wild')];
  const got = [];
  await serve({
    messages: { 'orders.*.created': (data, context) => context.getPattern() },
    events: { 'logs.#': (data) => void got.push(data) },
  }, { exchange, queue, wildcards: true });
  const asking = client({ exchange, wildcards: true });
  assert.equal(await ask(asking, 'orders.eu.created', {}), 'orders.eu.created');
  await tell(asking, 'logs.a.b.c', 1);
  await tell(asking, 'metrics.a', 2);
  await tell(asking, 'logs.x', 3);
  await eventually(() => got.length === 2, 'events');
  assert.deepEqual(got, [1, 3]);
});

nestTest('a fanout exchange tells all services', async ({ name, serve, client }) => {
  const exchange = name('fanout');
  const got = [[], []];
  for (const list of got) {
    await serve({ events: { news: (data) => void list.push(data) } },
      { exchange, exchangeType: 'fanout', queue: name('listener'), queueOptions: { exclusive: true } });
  }
  const telling = client({ exchange, exchangeType: 'fanout' });
  for (let n = 0; n < 10; n++) await tell(telling, 'news', n);
  await eventually(() => got.every((list) => list.length === 10), 'all news everywhere');
});

nestTest('two services share a queue', async ({ name, serve, client }) => {
  const queue = name('shared');
  const done = [0, 0];
  for (const index of [0, 1]) {
    await serve({
      messages: { work: async () => { done[index]++; await new Promise((resolve) => setTimeout(resolve, 5)); return index; } },
    }, { queue, prefetchCount: 1, noAck: true });
  }
  const asking = client({ queue });
  await Promise.all(Array.from({ length: 60 }, () => ask(asking, 'work', 0)));
  assert.equal(done[0] + done[1], 60);
  assert.ok(done[0] > 0 && done[1] > 0, `shares: ${done}`);
});

nestTest('a quorum queue', async ({ name, serve, client }) => {
  const settings = { queue: name('quorum'), queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } } };
  await serve({ messages: { echo: (data) => data } }, { ...settings, noAck: true });
  assert.equal(await ask(client(settings), 'echo', 'hi'), 'hi');
});

const port = process.env.AMQP_RESTART_PORT;
nestTest('service and client outlive the broker', async ({ name, serve, client }) => {
  const queue = name('restarted');
  const socketOptions = { reconnectTimeInSeconds: 1 };
  await serve({ messages: { echo: (data) => data } }, { queue, socketOptions });
  const asking = client({ queue, socketOptions });
  assert.equal(await ask(asking, 'echo', 'before'), 'before');
  execSync(process.env.AMQP_RESTART, { stdio: 'ignore', timeout: 60000 });
  await eventually(async () => {
    try {
      return await firstValueFrom(asking.send('echo', 'after').pipe(timeout(2000))) === 'after';
    } catch {
      return false;
    }
  }, 'reply after the restart', 40000);
}, { skip: port ? false : 'no broker that may be restarted', url: url.replace(/:\d+$/, `:${port}`) });
