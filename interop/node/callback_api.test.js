// The other face of amqplib: callbacks instead of promises.

'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { promisify } = require('node:util');
const amqp = require('amqplib/callback_api');
const { once, unique, url, within } = require('./support');

// A test with a connection of the callback API.
function callbackTest(title, body) {
  test(title, async () => {
    const connection = await within(promisify(amqp.connect)(url), 'connection');
    connection.on('error', () => {});
    try {
      await within(body(connection), 'end of the test');
    } finally {
      await within(promisify(connection.close).call(connection), 'close-ok', 5000).catch(() => connection.connection.stream.destroy());
    }
  });
}

callbackTest('callbacks: declare, publish, consume, ack', (connection) =>
  new Promise((resolve, reject) => {
    connection.createChannel((failure, channel) => {
      if (failure) return reject(failure);
      channel.on('error', reject);
      channel.assertQueue('', { exclusive: true }, (error, { queue }) => {
        if (error) return reject(error);
        channel.sendToQueue(queue, Buffer.from('hello'));
        channel.consume(queue, (message) => {
          channel.ack(message);
          try {
            assert.equal(message.content.toString(), 'hello');
            channel.deleteQueue(queue, {}, (late, ok) => (late ? reject(late) : resolve(ok)));
          } catch (unequal) {
            reject(unequal);
          }
        });
      });
    });
  }),
);

callbackTest('callbacks: confirms', (connection) =>
  new Promise((resolve, reject) => {
    connection.createConfirmChannel((failure, channel) => {
      if (failure) return reject(failure);
      channel.on('error', reject);
      for (let i = 0; i < 20; i++) channel.publish('amq.fanout', '', Buffer.from(String(i)));
      channel.waitForConfirms((error) => (error ? reject(error) : resolve()));
    });
  }),
);

callbackTest('callbacks: a refusal reaches the callback and the channel', (connection) =>
  new Promise((resolve, reject) => {
    connection.createChannel((failure, channel) => {
      if (failure) return reject(failure);
      const failed = once(channel, 'error');
      channel.checkQueue(unique('none'), (error) => {
        failed
          .then((emitted) => {
            assert.match(error.message, /404/);
            assert.equal(emitted.code, 404);
          })
          .then(resolve, reject);
      });
    });
  }),
);

callbackTest('callbacks: an empty get, a cancelled consumer', async (connection) => {
  const channel = await promisify(connection.createChannel).call(connection);
  const call = (method, ...args) => promisify(channel[method]).call(channel, ...args);
  const { queue } = await call('assertQueue', unique('callbacks'), { durable: false });
  assert.equal(await call('get', queue, {}), false);
  const cancelled = new Promise((resolve) => channel.consume(queue, (message) => message === null && resolve()));
  await call('deleteQueue', queue, {});
  await within(cancelled, 'cancel');
});
