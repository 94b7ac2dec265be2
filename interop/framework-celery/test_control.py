"""Remote control: broadcasts over `pidbox` exchanges with replies, and the events of workers and tasks."""

import threading
import time

import pytest
from celery.events.state import State

import app
from workers import SOON, eventually, lines

pytestmark = pytest.mark.timeout(90)
control = app.app.control


def merged(replies):
    """The answers of a broadcast, by worker."""
    return {name: answer for reply in replies or [] for name, answer in reply.items()}


def names(pair):
    return {worker.name for worker in pair}


def inspect(pair, count=2):
    return control.inspect([worker.name for worker in pair[:count]], timeout=SOON, limit=count)


def test_ping_all_one_and_by_pattern(pair):
    pong = {"ok": "pong"}
    assert merged(control.ping(timeout=SOON, limit=2)) == {name: pong for name in names(pair)}
    assert merged(control.ping(destination=[pair[0].name], timeout=SOON, limit=1)) == {pair[0].name: pong}
    found = control.broadcast(
        "ping", pattern="sec*", matcher="glob", reply=True, timeout=SOON, limit=1
    )
    assert merged(found) == {pair[1].name: pong}


def test_what_workers_tell(pair):
    assert set(inspect(pair).stats()) == names(pair)
    for queues in inspect(pair).active_queues().values():
        assert {queue["name"] for queue in queues} >= {app.TASKS}
    for conf in inspect(pair).conf().values():
        assert conf["task_default_queue"] == app.TASKS
    assert set(inspect(pair).report()) == names(pair)
    assert set(inspect(pair).clock()) == names(pair)


def test_scheduled_and_revoked(pair):
    """A task with a countdown waits in the worker, which says so, until it is revoked."""
    result = app.add.apply_async((1, 2), countdown=120)
    waiting = lambda: [
        entry for tasks in (inspect(pair).scheduled() or {}).values() for entry in tasks
    ]
    eventually(lambda: [entry["request"]["id"] for entry in waiting()] == [result.id])
    answers = merged(control.revoke(result.id, reply=True, timeout=SOON, limit=2))
    assert set(answers) == names(pair)
    revoked = inspect(pair).revoked()
    assert all(result.id in ids for ids in revoked.values())


def test_query_a_task(pair):
    result = app.sleep.delay(3)
    found = lambda: [
        name for name, tasks in (inspect(pair).query_task(result.id) or {}).items() if result.id in tasks
    ]
    assert len(eventually(found)) == 1
    assert result.get(timeout=SOON, interval=0.05) == 3


def test_pool_limits(pair):
    first = [pair[0].name]
    assert "ok" in merged(control.pool_grow(1, destination=first, reply=True, timeout=SOON, limit=1))[first[0]]
    size = lambda: len(inspect(pair, 1).stats()[first[0]]["pool"]["processes"])
    eventually(lambda: size() == 3)
    assert "ok" in merged(control.pool_shrink(1, destination=first, reply=True, timeout=SOON, limit=1))[first[0]]
    eventually(lambda: size() == 2)
    limited = control.time_limit("app.sleep", soft=10, hard=20, reply=True, timeout=SOON, limit=2)
    assert all("ok" in answer for answer in merged(limited).values())


def test_rate_limit(pair):
    """With two tasks a second, five more take at least a second and a half."""
    limited = merged(control.rate_limit("app.total", "60/m", reply=True, timeout=SOON, limit=2))
    assert all("ok" in answer for answer in limited.values())
    began = time.monotonic()
    results = [app.total.delay([number]) for number in range(6)]
    assert [result.get(timeout=SOON, interval=0.05) for result in results] == list(range(6))
    assert time.monotonic() - began >= 1.5
    control.rate_limit("app.total", None, reply=True, timeout=SOON, limit=2)


def test_commands_of_our_own(pair, tmp_path):
    said = merged(control.broadcast("say", {"word": "hi"}, reply=True, timeout=SOON, limit=2))
    assert said == {name: {"said": "hi", "by": name} for name in names(pair)}
    path = tmp_path / "touched"
    control.broadcast("touch", {"path": str(path)})
    eventually(lambda: set(lines(path)) == names(pair))


class Watch:
    """Listens to events in a thread, as monitors do."""

    def __init__(self):
        self.state, self.seen = State(), []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        with app.app.connection_for_read() as connection:
            receiver = app.app.events.Receiver(connection, handlers={"*": self.take})
            while not self.stopping.is_set():
                try:
                    receiver.capture(limit=None, timeout=0.5, wakeup=True)
                except TimeoutError:
                    pass

    def take(self, event):
        self.state.event(event)
        self.seen.append(event)

    def __enter__(self):
        self.thread.start()
        # Workers answer a new listener with a heartbeat.
        eventually(lambda: self.seen)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(SOON)


def test_the_state_that_events_tell(pair):
    with Watch() as watch:
        good, bad = app.add.delay(2, 2), app.fail.delay("on purpose")
        state = lambda task: getattr(watch.state.tasks.get(task.id), "state", None)
        eventually(lambda: (state(good), state(bad)) == ("SUCCESS", "FAILURE"))
        kinds = lambda task: [event["type"] for event in watch.seen if event.get("uuid") == task.id]
        eventually(lambda: "task-sent" in kinds(good))
        worked = [kind for kind in kinds(good) if kind != "task-sent"]
        assert worked == ["task-received", "task-started", "task-succeeded"]
        assert {worker.hostname for worker in watch.state.alive_workers()} == names(pair)


def test_workers_come_and_go(pair, start):
    with Watch() as watch:
        third = start("third", [app.LATE], "-P", "solo")
        control.shutdown(destination=[third.name])
        assert third.process.wait(SOON) == 0
        mine = lambda: [event["type"] for event in watch.seen if event["hostname"] == third.name]
        eventually(lambda: "worker-offline" in mine())
        assert mine()[0] in ("worker-online", "worker-heartbeat") and "worker-online" in mine()


def test_a_second_listener_does_not_take_from_the_first(pair):
    with Watch() as one, Watch() as other:
        task = app.add.delay(1, 1)
        for watch in (one, other):
            eventually(lambda: any(event.get("uuid") == task.id for event in watch.seen))
