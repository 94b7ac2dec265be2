"""Dramatiq's actors in worker processes: delays, retries, dead letters, priorities, and workers and brokers that die."""

import os
import signal
import subprocess
import time

import dramatiq
import pytest

import app
from workers import eventually, lines


def counts(queue):
    """Messages that are ready, that wait for their time, and that are dead."""
    return app.broker.get_queue_message_counts(queue)


def test_every_message_once(start, tmp_path):
    path = str(tmp_path / "notes")
    for number in range(300):
        app.note.send(path, number)
    start("--threads", "4", "--queues", app.TASKS)
    eventually(lambda: len(lines(path)) >= 300)
    assert sorted(map(int, lines(path))) == list(range(300))
    eventually(lambda: counts(app.TASKS) == (0, 0, 0))


def test_delayed_messages_come_in_their_time(start, tmp_path):
    """They wait unacknowledged in a consumer of the queue `….DQ`, and are published again when it is time."""
    path = str(tmp_path / "notes")
    start("--threads", "1", "--queues", app.TASKS)
    began = time.monotonic()
    app.note.send_with_options(args=(path, "late"), delay=2500)
    app.note.send_with_options(args=(path, "soon"), delay=1000)
    app.note.send(path, "now")
    eventually(lambda: len(lines(path)) == 3)
    assert lines(path) == ["now", "soon", "late"]
    assert time.monotonic() - began >= 2.5


def test_retries_with_back_off(start, tmp_path):
    path = str(tmp_path / "tries")
    start("--threads", "2", "--queues", app.TASKS)
    app.fail.send(path, 2)
    eventually(lambda: len(lines(path)) == 3)
    times = [float(line.split()[1]) for line in lines(path)]
    assert all(after - before >= 0.2 for before, after in zip(times, times[1:]))


def test_retries_that_end(start, tmp_path):
    """After its last try a message is rejected, and the broker moves it to `….XQ`."""
    path = str(tmp_path / "tries")
    start("--threads", "2", "--queues", app.TASKS)
    before = counts(app.TASKS)[2]
    app.fail.send(path, 100)
    eventually(lambda: counts(app.TASKS) == (0, 0, before + 1))
    assert len(lines(path)) == 4


def test_a_dead_letter_tells_its_death(start, tmp_path):
    path = str(tmp_path / "tries")
    start("--threads", "1", "--queues", app.DOOMED)
    message = app.doomed.send(path)
    method, properties, body = eventually(lambda: get(f"{app.DOOMED}.XQ"))
    assert dramatiq.Message.decode(body).message_id == message.message_id
    death = properties.headers["x-death"][0]
    assert (death["queue"], death["reason"], death["count"]) == (app.DOOMED, "rejected", 1)


def get(queue):
    answer = app.broker.channel.basic_get(queue, auto_ack=True)
    return answer if answer[0] else None


def test_priorities(start, tmp_path):
    path = str(tmp_path / "order")
    sent = [(priority, f"{priority}.{turn}") for turn in range(3) for priority in (0, 9, 5)]
    for priority, line in sent:
        app.urgent.send_with_options(args=(path, line), broker_priority=priority)
    # The prefetch is the worker's buffer, which has an order of its own; one message at a time shows that of the broker.
    start("--threads", "1", "--queues", app.URGENT, dramatiq_queue_prefetch="1")
    eventually(lambda: len(lines(path)) == len(sent))
    assert lines(path) == [line for _, line in sorted(sent, key=lambda entry: -entry[0])]


def test_pipelines(start, tmp_path):
    path = str(tmp_path / "notes")
    start("--threads", "2", "--queues", app.TASKS)
    last = app.note.message_with_options(args=(path, "done"), pipe_ignore=True)
    (app.add.message(1, 2) | app.add.message(4) | last).run()
    eventually(lambda: lines(path) == ["done"])


def test_a_worker_that_is_killed(start, tmp_path):
    """What it had, begun or prefetched, goes to the next worker."""
    path = str(tmp_path / "steps")
    victim = start("--threads", "1", "--queues", app.SLOW)
    app.slow.send(path, "first", 3)
    for number in range(5):
        app.slow.send(path, number, 0)
    eventually(lambda: lines(path) == ["begun first"])
    victim.stop(signal.SIGKILL)
    eventually(lambda: counts(app.SLOW)[0] == 6)
    start("--threads", "2", "--queues", app.SLOW)
    eventually(lambda: len(lines(path)) == 13)
    assert lines(path).count("begun first") == 2
    assert lines(path).count("ended first") == 1
    eventually(lambda: counts(app.SLOW) == (0, 0, 0))


def test_a_worker_that_is_told_to_stop(start, tmp_path):
    """It ends what it has begun, and gives the rest back."""
    path = str(tmp_path / "steps")
    worker = start("--threads", "1", "--queues", app.SLOW)
    for number in range(4):
        app.slow.send(path, number, 1)
    eventually(lambda: lines(path))
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.process.wait(30) == 0
    ended = sum(line.startswith("ended") for line in lines(path))
    assert 1 <= ended < 4
    assert counts(app.SLOW)[0] == 4 - ended
    app.broker.flush(app.SLOW)
    assert counts(app.SLOW) == (0, 0, 0)


@pytest.mark.skipif("AMQP_RESTART" not in os.environ, reason="no broker that may be restarted")
def test_a_worker_outlives_the_broker(start, tmp_path):
    port = os.environ["AMQP_RESTART_PORT"]
    path = str(tmp_path / "steps")
    start("--threads", "2", "--queues", app.SLOW, INTEROP_PORT=port)
    other = app.connect(port)
    other.declare_queue(app.SLOW)

    def send(name, **options):
        other.enqueue(app.slow.message_with_options(args=(path, name, 0.1)), **options)

    for number in range(3):
        send(number)
    send("delayed", delay=2000)
    eventually(lambda: lines(path))
    subprocess.run(os.environ["AMQP_RESTART"], shell=True, check=True, timeout=60)
    eventually(lambda: {"ended 0", "ended 1", "ended 2", "ended delayed"} <= set(lines(path)), 60)
    send("after")
    eventually(lambda: "ended after" in lines(path), 60)
    other.close()
