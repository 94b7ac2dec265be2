"""A broker of a test's own, for what cannot be done to the one that all tests share: a restart."""

import contextlib
import os
import subprocess

import pytest

COMMAND = os.environ.get("INTEROP_BROKER")

needed = pytest.mark.skipif(not COMMAND, reason="no WARRENMQ_BINARY")


class OwnBroker:
    def __init__(self, name):
        self.name = name
        self.port = int(self.run("start"))

    def run(self, verb):
        """Starts, stops or kills it."""
        return subprocess.run([COMMAND, verb, self.name], check=True, stdout=subprocess.PIPE, timeout=30).stdout

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"


@contextlib.contextmanager
def started(name):
    broker = OwnBroker(name)
    try:
        yield broker
    finally:
        broker.run("kill")
