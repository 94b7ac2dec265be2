// What the tests need of NestJS: controllers without a compiler for decorators, services and clients that end with their test,
// and waits that end.

import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, Ctx, EventPattern, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import amqp from 'amqplib';

export const url = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672';

/** How long one awaited step, and a whole test, may take. Generous: the machine may be busy. */
const STEP_MS = 20000;
const TEST_MS = 60000;

/** The promise, or a rejection naming `what` when it has not settled in time. */
export async function within(promise, what, limit = STEP_MS) {
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

export async function eventually(condition, what, limit = STEP_MS) {
  const deadline = Date.now() + limit;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const unique = (what) => `interop.nestjs.${what}.${randomUUID()}`;

/** A controller of these handlers; the names of messages and of events are the keys. Handlers get `(data, context)`. */
export function controllerOf({ messages = {}, events = {} }) {
  class Handlers {}
  const add = (decorator, pattern, handler, index) => {
    const name = `handler${index}`;
    Object.defineProperty(Handlers.prototype, name, { value: handler, writable: true, configurable: true });
    Payload()(Handlers.prototype, name, 0);
    Ctx()(Handlers.prototype, name, 1);
    decorator(pattern)(Handlers.prototype, name, Object.getOwnPropertyDescriptor(Handlers.prototype, name));
  };
  let index = 0;
  for (const [pattern, handler] of Object.entries(messages)) add(MessagePattern, pattern, handler, index++);
  for (const [pattern, handler] of Object.entries(events)) add(EventPattern, pattern, handler, index++);
  Controller()(Handlers);
  return Handlers;
}

/** A test that can start services and clients, and has a plain channel to look at queues with. */
export function nestTest(title, body, options = {}) {
  test(title, options, async () => {
    const ends = [];
    const connection = await within(amqp.connect(options.url ?? url), 'connection');
    connection.on('error', () => {});
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    const tools = {
      channel,
      /** A name of a queue or an exchange that is deleted after the test. */
      name(what) {
        const name = unique(what);
        ends.push(async () => {
          const last = await amqp.connect(options.url ?? url);
          const cleaner = await last.createChannel();
          await cleaner.deleteQueue(name);
          await cleaner.deleteExchange(name);
          await last.close();
        });
        return name;
      },
      async serve(handlers, settings) {
        class Application {}
        Module({ controllers: [controllerOf(handlers)] })(Application);
        const service = await NestFactory.createMicroservice(Application, {
          transport: Transport.RMQ,
          options: { urls: [options.url ?? url], ...settings },
          logger: false,
        });
        await within(service.listen(), 'service');
        ends.push(() => service.close());
        return service;
      },
      client(settings) {
        const client = ClientProxyFactory.create({
          transport: Transport.RMQ,
          options: { urls: [options.url ?? url], ...settings },
        });
        client.logger.localInstance?.setLogLevels?.([]);
        ends.push(() => client.close());
        return client;
      },
    };
    try {
      await within(body(tools), 'end of the test', TEST_MS);
    } finally {
      await connection.close().catch(() => {});
      for (const end of ends.reverse()) await within(Promise.resolve(end()), 'end of what it used').catch(() => {});
    }
  });
}
