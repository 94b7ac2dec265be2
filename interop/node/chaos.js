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
/** Every wait ends: heartbeats end those of an open connection, and this one ends a handshake. */
const STEP_MS = 15000;

let finish = false;
let end = false;

const say = (text) => process.stdout.write(`${text}\n`);
const filler = (number) => '.'.repeat((number * 37) % 1500);

/** Runs `work` on one connection after the other until it resolves, which it does when all is done. */
async function forEver(work) {
  for (;;) {
    let connection;
    try {
      connection = await connect();
      // Errors of the connection and its end reject what waits for them.
      const gone = new Promise((_, reject) => {
        connection.on('error', reject);
        connection.on('close', () => reject(new Error('closed')));
      });
      gone.catch(() => {});
      await Promise.race([work(connection, gone), gone]);
      await Promise.race([connection.close(), gone, sleep(STEP_MS).then(() => Promise.reject(new Error('no close-ok')))]);
      return;
    } catch {
      say('again');
      connection?.connection?.stream.destroy();
      await sleep(RETRY_MS);
    }
  }
}

/** A connection, or a rejection after a time: a socket of a handshake that has come to nothing is destroyed. */
async function connect() {
  const net = require('node:net');
  const sockets = [];
  const original = net.connect;
  // amqplib gives no hold of the socket of a connection that is not open yet.
  net.connect = (...parameters) => {
    const socket = original(...parameters);
    sockets.push(socket);
    return socket;
  };
  const opening = amqp.connect(url);
  net.connect = original;
  opening.then((connection) => connection.on('error', () => {}), () => {});
  const late = setTimeout2(sockets);
  try {
    return await Promise.race([opening, late.promise]);
  } finally {
    late.clear();
  }
}

/** A promise that is rejected after a step's time, when it destroys the sockets. */
function setTimeout2(sockets) {
  let timer;
  const promise = new Promise((_, reject) => {
    timer = setTimeout(() => {
      sockets.forEach((socket) => socket.destroy());
      reject(new Error('no connection in time'));
    }, STEP_MS);
  });
  promise.catch(() => {});
  return { promise, clear: () => clearTimeout(timer) };
}
