// A client of `cargo xtask chaos` on amqplib: what it is to do stands in interop/chaos.md.

'use strict';

const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');

const [host, port, name] = process.argv.slice(2);
const url = `amqp://guest:guest@${host}:${port}/%2f?heartbeat=3`;
const QUEUES = ['chaos', 'chaos-quorum'];
const INTERVAL_MS = 5;
const RETRY_MS = 50;
/** How long a handshake or a close may take; an open connection has its heartbeats. */
const STEP_MS = 10000;

let finish = false;
let end = false;

const say = (text) => process.stdout.write(`${text}\n`);
const filler = (number) => '.'.repeat((number * 37) % 1500);

/** The promise, or a rejection when it has not settled in time; what it still brings then is handed to `discard`. */
async function within(promise, discard = () => {}) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('not in time'));
      promise.then(discard, () => {});
    }, STEP_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `work` on one connection after the other until it resolves, which it does when all is done. */
async function forEver(work) {
  for (;;) {
    let connection;
    try {
      // The library's own limit is for silence during the handshake.
      const opening = amqp.connect(url, { timeout: STEP_MS });
      connection = await within(opening, (unwanted) => unwanted.connection.stream.destroy());
      const gone = new Promise((_, reject) => {
        connection.on('error', reject);
        connection.on('close', () => reject(new Error('closed')));
      });
      gone.catch(() => {});
      await Promise.race([work(connection), gone]);
      await within(connection.close());
      return;
    } catch {
      say('again');
      connection?.connection?.stream.destroy();
      await sleep(RETRY_MS);
    }
  }
}

async function publisher() {
  let number = 1;
  await forEver(async (connection) => {
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => {});
    for (let last = false; !last; ) {
      // What was not confirmed is published again; after the word to finish, one more.
      last = finish;
      const body = Buffer.from(`${name} ${number} ${filler(number)}`);
      await new Promise((resolve, reject) => {
        const settled = (error) => (error ? reject(error) : resolve());
        channel.publish('', QUEUES[number % 2], body, { persistent: true, mandatory: true }, settled);
      });
      say(`confirmed ${number}`);
      number += 1;
      await sleep(INTERVAL_MS);
    }
  });
  say(`attempted ${number - 1}`);
}

async function consumer() {
  await forEver(async (connection) => {
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    await channel.prefetch(50);
    for (const queue of QUEUES) {
      await channel.consume(queue, (message) => {
        const body = message.content.toString('latin1');
        const [, who, number, rest] = /^(\S+) (\d+) (.*)$/s.exec(body) ?? [];
        if (who !== undefined && rest === filler(Number(number))) {
          say(`consumed ${who} ${number}`);
        } else {
          say(`torn ${JSON.stringify(body.slice(0, 60))}`);
        }
        channel.ack(message);
      });
    }
    while (!end) {
      await sleep(50);
    }
  });
  say('ended');
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  finish ||= line === 'finish';
  end ||= line === 'end';
});
// Whoever has started this is gone.
lines.on('close', () => end || process.exit(1));
Promise.all([publisher(), consumer()]).then(() => process.exit(0));
