// A restart of the broker. The test connects again by hand, as users of this client do.

'use strict';

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { test } = require('node:test');
const { promisify } = require('node:util');
const amqp = require('amqplib');
const { disconnect, inbox, once, openChannel, privateQueue, within } = require('./support');

const command = process.env.INTEROP_BROKER;

async function dial(port) {
  const connection = await within(amqp.connect(`amqp://guest:guest@127.0.0.1:${port}`), 'connection');
  connection.on('error', () => {});
  return connection;
}

for (const verb of ['stop', 'kill']) {
  test(`what was confirmed is there after ${verb}`, { skip: command ? false : 'no WARRENMQ_BINARY' }, async () => {
    // Starts, stops or kills a broker for this test alone.
    const broker = async (what) => (await promisify(execFile)(command, [what, `node-${verb}`])).stdout.trim();
    const port = await broker('start');
    let again;
    try {
      const connection = await dial(port);
      const channel = await openChannel(connection, { confirms: true });
      await channel.assertQueue('kept', { durable: true });
      for (const body of ['a', 'b', 'c']) channel.sendToQueue('kept', Buffer.from(body), { persistent: true });
      await within(channel.waitForConfirms(), 'confirms');
      const fleeting = await privateQueue(channel);
      await inbox(channel, fleeting, { noAck: true });

      const closed = once(connection, 'close');
      await broker(verb);
      const reason = await closed;
      // An orderly stop is announced; amqplib takes it for no error.
      if (verb === 'stop') assert.match(String(reason), /320|CONNECTION.FORCED/);
      await broker('start');

      again = await dial(port);
      const fresh = await openChannel(again);
      const received = await inbox(fresh, 'kept', { noAck: true });
      assert.deepEqual(await received.bodies(3), ['a', 'b', 'c']);
      fresh.sendToQueue('kept', Buffer.from('after'));
      assert.deepEqual(await received.bodies(1), ['after']);
      await assert.rejects((await openChannel(again)).checkQueue(fleeting), { code: 404 });
    } finally {
      if (again) await disconnect(again);
      await broker('kill');
    }
  });
}
