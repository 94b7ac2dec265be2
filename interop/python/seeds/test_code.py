"""Runs the programs of the seeds, as they are, and compares what they print with what the seeds' README says.

They lie outside the repository, in `code` under `$WARRENMQ_SEEDS`, or under `shared/seeds` beside the repository.
Without that folder these tests are skipped.
The programs name `localhost`, port 5672; `shim` makes that the broker under test.
"""

import contextlib
import os
import pathlib
import queue as queues
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import broker

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = pathlib.Path(os.environ.get("WARRENMQ_SEEDS") or HERE.parents[3] / "shared/seeds").resolve()
CODE = SEEDS / "code"

pytestmark = pytest.mark.skipif(not CODE.is_dir(), reason=f"no seeds at {CODE}")


class Program:
    """A started Python program and the lines it has printed so far."""

    def __init__(self, *command, folder=CODE):
        environment = {
            **os.environ,
            "WARRENMQ_HOST": broker.HOST,
            "WARRENMQ_PORT": str(broker.PORT),
            "PYTHONPATH": str(HERE / "shim"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        # A group of its own, so that the children of a worker end with it.
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.lines = []
        self._arriving = queues.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._arriving.put(line.rstrip("\n"))
        self._arriving.put(None)

    def _next(self, seconds):
        """One more line, or None at the end of the output; queue.Empty when neither came in time."""
        line = self._arriving.get(timeout=seconds)
        if line is None:
            self._arriving.put(None)
        else:
            self.lines.append(line)
        return line

    def wait_for(self, pattern, seconds=40):
        """Waits for a line that has the pattern."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queues.Empty):
            while (line := self._next(max(0, deadline - time.monotonic()))) is not None:
                if re.search(pattern, line):
                    return line
        pytest.fail(f"no line with {pattern!r} in:\n" + "\n".join(self.lines))

    def end(self, seconds=40):
        """Waits until the program has ended by itself; its exit status and its lines."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queues.Empty):
            while self._next(max(0, deadline - time.monotonic())) is not None:
                pass
            return self.process.wait(5), self.lines
        pytest.fail("still running, with this output:\n" + "\n".join(self.lines))

    def goes_on_waiting(self, seconds=0.5):
        """True when the program prints nothing more and does not end."""
        with contextlib.suppress(queues.Empty):
            self._next(seconds)
            return False
        return self.process.poll() is None

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start():
    programs = []

    def start_program(*command, **options):
        programs.append(Program(*command, **options))
        return programs[-1]

    yield start_program
    for program in programs:
        program.stop()


@pytest.fixture(autouse=True)
def clean_broker(connect):
    """The programs share fixed queue names, and 003_priority leaves its queue behind."""
    channel = connect().channel()

    def clean():
        for queue in ("hello", "celery", "priority_queue"):
            channel.queue_delete(queue)

    clean()
    yield
    clean()


def test_000_two_dictionaries(start):
    assert start("000_producer.py").end() == (0, [" [x] Sent {'name': 'John'}", " [x] Sent {'name': 'Jane'}"])
    consumer = start("000_consumer.py")
    consumer.wait_for("Jane")
    assert consumer.goes_on_waiting()
    assert consumer.lines == [" [x] Received {'name': 'John'}", " [x] Received {'name': 'Jane'}"]


@pytest.mark.parametrize(
    "producer, printed, reader",
    [
        ("002_producer.py", [], "002_consumer.py"),
        ("003_producer.py", [], "002_consumer.py"),
        ("004_producer.py", [" [x] Sent 'Hello World!'"], "004_consumer.py"),
    ],
)
@pytest.mark.parametrize("first", ["producer", "consumer"])
def test_hello_world(start, producer, printed, reader, first):
    consumer = start(reader) if first == "consumer" else None
    assert start(producer).end() == (0, printed)
    consumer = consumer or start(reader)
    consumer.wait_for("Received")
    assert consumer.goes_on_waiting()
    assert consumer.lines == [" [x] Received b'Hello World!'"]


def test_003_priority_fails_in_the_client(start, connect):
    status, lines = start("003_priority.py").end()
    assert status == 1
    assert re.search(r"TypeError: .* unexpected keyword argument 'priority'", lines[-1])
    assert connect().channel().queue_declare("priority_queue", passive=True).method.message_count == 0


def start_worker(start, folder):
    worker = start("-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO", folder=folder)
    worker.wait_for(r"celery@\S+ ready")
    return worker


@pytest.mark.timeout(120)
def test_004_celery_without_result_backend(start):
    worker = start_worker(start, CODE / "004_celery")
    status, lines = start("main.py", folder=CODE / "004_celery").end()
    assert status == 1
    task = re.fullmatch("Task ID: (.*)", lines[0])[1]
    assert "DisabledBackend" in lines[-1]
    worker.wait_for(rf"Task tasks\.add\[{task}\] received")
    worker.wait_for(rf"Task tasks\.add\[{task}\] succeeded in .*: 8$")


@pytest.mark.timeout(120)
def test_004_celery_with_rpc_results(start, tmp_path):
    """The same two files with the one argument that the document forgot."""
    shutil.copytree(
        CODE / "004_celery", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    tasks = tmp_path / "tasks.py"
    listing = tasks.read_text()
    tasks.write_text(listing.replace("//')", "//', backend='rpc://')"))
    assert tasks.read_text() != listing
    start_worker(start, tmp_path)
    status, lines = start("main.py", folder=tmp_path).end()
    assert status == 0, lines
    assert re.fullmatch(r"Task ID: \S+", lines[0])
    assert lines[1] in ("Task Status: PENDING", "Task Status: SUCCESS")
    assert lines[2:] == ["Task Result: 8"]


@pytest.mark.skip("speaks HTTP to port 8000, which is not AMQP")
@pytest.mark.parametrize("listing", ["001_http_message.py", "001_http_queue.py"])
def test_001_http(start, listing):
    assert start(listing).end()[0] == 0
