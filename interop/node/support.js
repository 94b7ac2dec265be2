// What every test here needs: a connection that is always closed, names nobody else uses, and waits that end.

'use strict';

const { randomUUID } = require('node:crypto');
const { test } = require('node:test');
const amqp = require('amqplib');

const url = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672';

/** How long one awaited step, and a whole test, may take. Generous: the machine may be busy. */
const STEP_MS = 15000;
const TEST_MS = 40000;

/** The promise, or a rejection naming `what` when it has not settled in time. */
async function within(promise, what, limit = STEP_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${limit} ms`)), limit);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A name that no other test, run or client uses. */
const unique = (what) => `interop.node.${what}.${randomUUID()}`;

/** Resolves with the first value the emitter sends for this event. */
function once(emitter, event) {
  return within(new Promise((resolve) => emitter.once(event, resolve)), `'${event}' event`);
}

async function connect(parameters = '') {
  const connection = await within(amqp.connect(url + parameters), 'connection');
  // Errors are asserted where they are expected; without a listener they would end the process.
  connection.on('error', () => {});
  return connection;
}

async function disconnect(connection) {
  try {
    await within(connection.close(), 'close-ok', 5000);
  } catch {
    connection.connection.stream.destroy();
  }
}

/** A channel whose failure is seen in the rejected call, or with `once(channel, 'error')`. */
async function openChannel(connection, { confirms = false } = {}) {
  const opening = confirms ? connection.createConfirmChannel() : connection.createChannel();
  const channel = await within(opening, 'channel');
  channel.on('error', () => {});
  return channel;
}

/** A test with a connection and a channel of its own. */
function brokerTest(title, body) {
  test(title, async () => {
    const connection = await connect();
    try {
      const channel = await openChannel(connection);
      await within(body({ connection, channel }), 'end of the test', TEST_MS);
    } finally {
      await disconnect(connection);
    }
  });
}

/** A consumer whose deliveries are taken one by one; a server-sent cancel arrives as null. */
async function inbox(channel, queue, options = {}) {
  const ready = [];
  const waiting = [];
  const take = (message) => (waiting.length > 0 ? waiting.shift()(message) : ready.push(message));
  const { consumerTag } = await within(channel.consume(queue, take, options), 'consume-ok');
  const next = () => (ready.length > 0 ? ready.shift() : new Promise((resolve) => waiting.push(resolve)));
  return {
    consumerTag,
    next: () => within(Promise.resolve(next()), `delivery from ${queue}`),
    /** The bodies of the next `count` deliveries. */
    async bodies(count) {
      const bodies = [];
      while (bodies.length < count) bodies.push((await this.next()).content.toString());
      return bodies;
    },
    /** Deliveries that have arrived and were not taken. */
    waiting: () => ready.length,
  };
}

/** A server-named queue of this connection, gone with it. */
async function privateQueue(channel) {
  const { queue } = await channel.assertQueue('', { exclusive: true });
  return queue;
}

module.exports = { brokerTest, connect, disconnect, inbox, once, openChannel, privateQueue, unique, url, within };
