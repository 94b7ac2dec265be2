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


class Worker:
    """Dramatiq's command line: a main process with children, in a process group of their own."""

    def __init__(self, folder, *options, **environment):
        self.log = folder / f"{uuid.uuid4().hex}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dramatiq", "app", "--processes", "1", *options],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(HERE), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self):
        ready = lambda: "Worker process is ready" in self.log.read_text()
        eventually(lambda: ready() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def stop(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.process.wait(SOON)
