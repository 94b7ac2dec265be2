"""Where the broker under test is, and how tests name and await what they make there."""

import asyncio
import functools
import os
import time
import uuid

import pika

HOST = os.environ.get("WARRENMQ_HOST", "127.0.0.1")
PORT = int(os.environ.get("WARRENMQ_PORT", "5672"))
URL = f"amqp://guest:guest@{HOST}:{PORT}/%2F"

# Upper bound of every wait for something that normally takes milliseconds; a busy machine may take seconds.
PATIENCE = 20


def parameters(**changes):
    """Connection parameters of pika for the broker under test."""
    settings = {"heartbeat": 30, "blocked_connection_timeout": PATIENCE, **changes}
    return pika.ConnectionParameters(HOST, PORT, **settings)


def unique(prefix):
    """A name that no other test and no earlier run has used."""
    return f"interop.{prefix}.{uuid.uuid4().hex[:12]}"


def eventually(condition, seconds=PATIENCE, step=0.02):
    """The first true value of `condition()`, tried until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(step)


def asynchronous(test):
    """Makes a test of a coroutine, with a limit of its own."""

    @functools.wraps(test)
    def run(*arguments, **fixtures):
        asyncio.run(asyncio.wait_for(test(*arguments, **fixtures), 2 * PATIENCE))

    return run


async def until(condition):
    """Waits for `condition()` while other coroutines run; the limit is that of the test."""
    while not condition():
        await asyncio.sleep(0.01)
