"""Celery with results over `rpc://`: two workers, and what a project does with them."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
from celery import chain, group
from celery.exceptions import TaskRevokedError

import broker
import celery_app
from celery_app import app

HERE = pathlib.Path(__file__).resolve().parent
# How long a result may take on a machine that is busy with other things.
SOON = 30

pytestmark = pytest.mark.timeout(120)


class Worker:
    """A worker process in a group of its own, with its log."""

    def __init__(self, name, folder, queues, *options):
        self.name, self.log = f"{name}@interop", folder / f"{name}.log"
        command = [
            "-m",
            "celery",
            "-A",
            "celery_app",
            "worker",
            "-n",
            self.name,
            "-Q",
            queues,
            "-l",
            "INFO",
            *options,
        ]
        environment = {
            **os.environ,
            "WARRENMQ_CELERY": celery_app.RUN,
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        self._shown = 0

    def new_lines(self):
        """What the log has more than at the last call."""
        text = self.log.read_text()[self._shown :]
        self._shown += len(text)
        return text

    def wait_until_ready(self):
        broker.eventually(
            lambda: f"{self.name} ready" in self.log.read_text() or self.process.poll() is not None, SOON
        )
        assert self.process.poll() is None, self.log.read_text()

    def stop(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(SOON)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers on one queue: one with a child process, one with threads."""
    folder = tmp_path_factory.mktemp("workers")
    pair = [
        Worker("first", folder, f"{celery_app.RUN},{celery_app.FIRST_ONLY}", "-c", "1"),
        Worker("second", folder, f"{celery_app.RUN},{celery_app.SECOND_ONLY}", "-P", "threads", "-c", "1"),
    ]
    for worker in pair:
        worker.wait_until_ready()
    yield pair
    for worker in pair:
        worker.stop(signal.SIGKILL)


@pytest.fixture(autouse=True)
def logs(workers):
    """Prints what the workers logged during a test, which pytest shows when it failed."""
    yield
    for worker in workers:
        print(f"{worker.name}:\n{worker.new_lines()}")


@pytest.fixture(scope="module", autouse=True)
def clean_broker():
    yield
    queues = [
        celery_app.RUN,
        celery_app.FIRST_ONLY,
        celery_app.SECOND_ONLY,
        celery_app.ADDED,
        celery_app.LATE,
    ]
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for queue in queues:
            channel.queue_delete(queue)
        for exchange in [
            *queues,
            *(f"{celery_app.RUN}.{name}" for name in ("events", "results", "pidbox")),
            f"reply.{celery_app.RUN}.pidbox",
        ]:
            channel.exchange_delete(exchange)


def test_task_and_its_result(workers):
    result = celery_app.add.delay(4, 4)
    assert result.get(timeout=SOON) == 8
    assert (result.status, result.successful()) == ("SUCCESS", True)


def test_failure_is_raised_at_the_caller(workers):
    result = celery_app.fail.delay("on purpose")
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=SOON)
    assert result.status == "FAILURE"


@pytest.mark.parametrize(
    "value",
    [None, "Grüße", {"nested": [1, {"two": 2.5}]}, "x" * 300_000],
    ids=["none", "text", "nested", "large"],
)
def test_arguments_and_results_come_through(workers, value):
    assert celery_app.echo.delay(value).get(timeout=SOON) == value


def test_both_workers_take_part(workers):
    results = [celery_app.where.delay(0.1) for _ in range(12)]
    assert {result.get(timeout=SOON) for result in results} == {worker.name for worker in workers}


def test_retry_until_success(workers):
    assert celery_app.succeed_at_attempt.delay(3).get(timeout=SOON) == 2


def test_retry_gives_up(workers):
    with pytest.raises(RuntimeError, match="never"):
        celery_app.never_succeed.delay().get(timeout=SOON)


def test_countdown(workers):
    began = time.monotonic()
    result = celery_app.add.apply_async((1, 2), countdown=1.5)
    assert result.get(timeout=SOON) == 3
    assert time.monotonic() - began >= 1.5


def test_group(workers):
    results = group(celery_app.add.s(number, number) for number in range(40))()
    assert results.get(timeout=SOON) == [2 * number for number in range(40)]


def test_chain(workers):
    assert chain(celery_app.add.s(1, 2), celery_app.add.s(4), celery_app.add.s(8))().get(timeout=SOON) == 15


def test_revoke_before_it_runs(workers):
    result = celery_app.add.apply_async((1, 2), countdown=3)
    assert set(reply_of(app.control.revoke(result.id, reply=True, timeout=SOON, limit=2))) == {
        worker.name for worker in workers
    }
    with pytest.raises(TaskRevokedError):
        result.get(timeout=SOON)


def test_revoke_while_it_runs(workers):
    result = celery_app.where.apply_async((60,), queue=celery_app.FIRST_ONLY)
    name = workers[0].name
    broker.eventually(lambda: app.control.inspect([name], timeout=SOON, limit=1).active()[name], SOON)
    app.control.revoke(result.id, terminate=True, signal="SIGKILL")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=SOON)


def reply_of(replies):
    """The answers of a broadcast, by worker."""
    return {name: answer for reply in replies for name, answer in reply.items()}


def test_inspect_ping(workers):
    names = {worker.name for worker in workers}
    assert app.control.inspect(timeout=SOON, limit=2).ping() == {name: {"ok": "pong"} for name in names}
    name = workers[1].name
    assert app.control.inspect([name], timeout=SOON, limit=1).ping() == {name: {"ok": "pong"}}


def test_inspect_from_the_command_line(workers):
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "inspect", "ping", "--timeout", "10"]
    command += ["--destination", workers[0].name]
    environment = {**os.environ, "WARRENMQ_CELERY": celery_app.RUN}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "1 node online" in done.stdout) == (0, True), done.stdout + done.stderr


def test_inspect_registered_and_stats(workers):
    registered = app.control.inspect(timeout=SOON, limit=2).registered()
    assert all("celery_app.add" in tasks for tasks in registered.values()) and len(registered) == 2
    stats = app.control.inspect(timeout=SOON, limit=2).stats()
    assert {stat["broker"]["port"] for stat in stats.values()} == {broker.PORT}


def test_a_queue_added_at_run_time(workers):
    """A worker is told to consume from a second queue, and to stop."""
    name = workers[1].name
    added = app.control.add_consumer(celery_app.ADDED, destination=[name], reply=True, timeout=SOON, limit=1)
    assert "ok" in reply_of(added)[name]
    assert celery_app.where.apply_async((0,), queue=celery_app.ADDED).get(timeout=SOON) == name
    cancelled = app.control.cancel_consumer(
        celery_app.ADDED, destination=[name], reply=True, timeout=SOON, limit=1
    )
    assert "ok" in reply_of(cancelled)[name]


def test_events(workers):
    """The life of a task as the workers' events tell it."""
    seen, task = [], str(uuid.uuid4())
    with app.connection_for_read() as connection:

        def remember(event):
            seen.append(event)
            receiver.should_stop = event["type"] == "task-succeeded" and event["uuid"] == task

        receiver = app.events.Receiver(connection, handlers={"*": remember})
        thread = threading.Thread(target=receiver.capture, kwargs={"timeout": SOON}, daemon=True)
        thread.start()
        # Workers answer a new listener with a heartbeat.
        broker.eventually(lambda: seen, SOON)
        assert celery_app.add.apply_async((20, 22), task_id=task).get(timeout=SOON) == 42
        thread.join(SOON)
    kinds = [event["type"] for event in seen if event.get("uuid") == task]
    assert kinds == ["task-received", "task-started", "task-succeeded"]


def test_a_task_outlives_its_worker(workers, tmp_path):
    """Acknowledged late, a task whose worker is killed goes to another worker, marked as redelivered."""
    started = [Worker("dies", tmp_path, celery_app.LATE, "-P", "solo")]
    started[0].wait_until_ready()
    try:
        result = celery_app.die_at_first.apply_async((str(tmp_path / "ran"),), queue=celery_app.LATE)
        started[0].process.wait(SOON)
        started.append(Worker("heir", tmp_path, celery_app.LATE, "-P", "solo"))
        assert result.get(timeout=SOON) is True
    finally:
        for worker in started:
            worker.stop(signal.SIGKILL)


def test_workers_shut_down_when_told(workers):
    """Last in this file: the warm shutdown sent as a broadcast, acknowledged by leaving."""
    app.control.shutdown(destination=[workers[0].name])
    assert workers[0].process.wait(SOON) == 0
    workers[1].stop(signal.SIGTERM)
