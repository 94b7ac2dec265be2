"""What becomes of a task's message: acknowledged late, rejected, expired, by priority, and when workers die."""

import signal
import time

import pytest

import app
from workers import SOON, count, eventually, lines

pytestmark = pytest.mark.timeout(90)


def get(result):
    return result.get(timeout=SOON, interval=0.05)


@pytest.fixture(autouse=True)
def empty_queues():
    """What a test leaves must not keep the next one's worker busy."""
    yield
    with app.app.connection_for_write() as connection:
        for queue in (app.LATE, app.FRAGILE, app.REJECTING, app.DEAD, app.PRIORITY):
            connection.default_channel.queue_delete(queue)


def test_a_child_process_that_dies(start, tmp_path):
    """With reject_on_worker_lost the parent requeues the message, and it comes again as redelivered."""
    start("fragile", [app.FRAGILE], "-c", "1")
    assert get(app.die_at_first.apply_async((str(tmp_path / "ran"),), queue=app.FRAGILE)) is True


def test_a_worker_that_is_killed_in_the_middle(start, tmp_path):
    """All that it had, begun or prefetched, goes to the next worker; what was acknowledged does not."""
    victim = start("victim", [app.LATE], "-c", "2", "-O", "fair", "--prefetch-multiplier", "2")
    path = str(tmp_path / "begun")
    done = app.late.apply_async((path, 0), queue=app.LATE)
    assert get(done) is False
    caught = [app.late.apply_async((path, 60), queue=app.LATE) for _ in range(2)]
    eventually(lambda: len(lines(path)) == 3)
    waiting = [app.late.apply_async((path, 0), queue=app.LATE) for _ in range(8)]
    victim.stop(signal.SIGKILL)
    eventually(lambda: count(app.LATE) == (10, 0))
    start("heir", [app.LATE], "-P", "threads", "-c", "10")
    assert [get(result) for result in caught] == [True, True]
    assert [get(result) for result in waiting].count(True) <= 2
    begun = [line.split()[0] for line in lines(path)]
    assert [begun.count(result.id) for result in (done, *caught, *waiting)] == [1, 2, 2] + [1] * 8


def test_early_acknowledgement_is_lost_with_the_worker(start, tmp_path):
    """Acknowledged before it runs, a task dies with its worker: the queue is empty."""
    victim = start("hasty", [app.LATE], "-c", "1")
    task = app.sleep.apply_async((60,), queue=app.LATE)
    active = lambda: app.app.control.inspect([victim.name], timeout=SOON, limit=1).active()[victim.name]
    eventually(lambda: [entry["id"] for entry in active()] == [task.id])
    assert count(app.LATE) == (0, 1)
    victim.stop(signal.SIGKILL)
    eventually(lambda: count(app.LATE)[1] == 0)
    assert count(app.LATE) == (0, 0)


def test_reject(start):
    """Rejected with requeue it comes again; without, it goes to the queue of the dead."""
    start("refuser", [app.REJECTING], "-P", "solo")
    assert get(app.refuse.apply_async((True,), queue=app.REJECTING)) == "again"
    with app.app.connection_for_write() as connection:
        app.app.amqp.queues[app.DEAD](connection.default_channel).declare()
        result = app.refuse.apply_async((False,), queue=app.REJECTING)
        got = lambda: connection.default_channel.basic_get(app.DEAD, no_ack=True)
        message = eventually(got)
        assert message.headers["id"] == result.id
        death = message.headers["x-death"][0]
        assert (death["queue"], death["reason"], death["count"]) == (app.REJECTING, "rejected", 1)


def test_expired_tasks_are_revoked(start):
    """`expires` is kept by the worker when the message comes too late."""
    late = app.add.apply_async((1, 2), queue=app.LATE, expires=0.5)
    time.sleep(0.7)
    worker = start("tardy", [app.LATE], "-P", "solo")
    assert get(app.add.apply_async((1, 2), queue=app.LATE)) == 3
    # Celery gives the message an expiration too, so that the broker may have dropped it before the worker sees it.
    assert not worker.said(f"app.add[{late.id}] succeeded")
    assert late.status in ("PENDING", "REVOKED")


def test_priorities(start, tmp_path):
    """The most urgent first, and those of one priority in their order; what is above the queue's maximum counts as that."""
    with app.app.connection_for_write() as connection:
        app.app.amqp.queues[app.PRIORITY](connection.default_channel).declare()
    path = str(tmp_path / "order")
    sent = [(priority, f"{priority}.{turn}") for turn in range(3) for priority in (0, 3, 9, 6)]
    for priority, line in sent:
        app.note.apply_async((path, line), queue=app.PRIORITY, priority=priority)
    start("urgent", [app.PRIORITY], "-P", "solo")
    eventually(lambda: len(lines(path)) == len(sent))
    assert lines(path) == [line for _, line in sorted(sent, key=lambda entry: -entry[0])]


def test_purge(start):
    start("declares", [app.LATE], "-P", "solo").stop()
    for _ in range(5):
        app.add.apply_async((1, 1), queue=app.LATE)
    eventually(lambda: count(app.LATE) == (5, 0))
    assert app.app.control.purge() >= 5
    assert count(app.LATE) == (0, 0)
