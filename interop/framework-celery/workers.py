"""Worker processes, and waits that end."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
# How long one step may take on a machine that is busy with other things.
SOON = 30


def unique(prefix):
    return f"interop.{prefix}.{uuid.uuid4().hex[:12]}"


def eventually(condition, seconds=SOON, step=0.05):
    """The first true value of `condition()`, tried until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(step)


def lines(path):
    path = pathlib.Path(path)
    return path.read_text().split("\n")[:-1] if path.exists() else []


def count(queue, port=None):
    """(messages, consumers) that a passive declare tells."""
    import app

    with app.app.connection_for_read(f"pyamqp://guest:guest@{app.HOST}:{port or app.PORT}//") as connection:
        told = connection.default_channel.queue_declare(queue, passive=True)
        return told.message_count, told.consumer_count


class Worker:
    """A worker in a process group of its own, with its log."""

    def __init__(self, name, folder, queues, *options, module="app", **environment):
        self.name, self.log = f"{name}@interop", folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", module, "worker", "-n", self.name, "-l", "INFO"]
        command += ["--without-mingle", "--without-gossip"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "-Q", ",".join(queues), *options],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(HERE), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, text):
        return text in self.log.read_text()

    def wait_until_ready(self):
        eventually(lambda: self.said(f"{self.name} ready") or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def stop(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.process.wait(SOON)
