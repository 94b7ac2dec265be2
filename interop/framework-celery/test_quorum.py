"""A worker on quorum queues. What waits for its time waits in the broker; see `quorum.py`."""

import time

import pytest
from celery import chord, group

import quorum
from workers import SOON, Worker, eventually

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("worker")]


def get(result):
    return result.get(timeout=SOON, interval=0.05)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quorum")
    worker = Worker("quorum", folder, [quorum.TASKS], "-c", "2", module="quorum").wait_until_ready()
    yield worker
    worker.stop()
    print(worker.log.read_text())
    with quorum.app.connection_for_write() as connection:
        channel = connection.default_channel
        for queue in (quorum.TASKS, quorum.LATE, *(f"celery_delayed_{level}" for level in range(28))):
            channel.queue_delete(queue)
        for name in (
            *(quorum.EXCHANGE.name, f"{quorum.RUN}.events", f"{quorum.RUN}.pidbox", f"reply.{quorum.RUN}.pidbox"),
            *("celery_delayed_delivery", *(f"celery_delayed_{level}" for level in range(28))),
        ):
            channel.exchange_delete(name)


def test_the_worker_has_seen_that_they_are(worker):
    assert worker.said("Global QoS is disabled"), worker.log.read_text()


def test_tasks():
    assert get(group(quorum.add.s(number, 1) for number in range(30))()) == list(range(1, 31))


def test_countdowns_come_in_their_order_in_time():
    began = time.monotonic()
    ended, results = {}, {seconds: quorum.add.apply_async((seconds, 0), countdown=seconds) for seconds in (5, 3, 1)}
    while len(ended) < len(results) and time.monotonic() < began + SOON:
        for seconds, result in results.items():
            if seconds not in ended and result.ready():
                ended[seconds] = time.monotonic() - began
        time.sleep(0.02)
    assert sorted(ended) == [1, 3, 5]
    # Celery rounds to whole seconds, so that they may come up to one early.
    assert all(seconds - 1 <= after < seconds + 3 for seconds, after in ended.items()), ended


def test_retries_with_one_delay_go_the_same_way_again():
    """The message carries the `x-death` of its first way to the second; RabbitMQ before 4.0 takes that for a cycle."""
    assert get(quorum.retry.delay(2)) == 2


def test_chord():
    """Its `chord_unlock` waits by the delayed queues."""
    assert get(chord((quorum.add.s(number, 1) for number in range(5)), quorum.total.s())()) == 15


def test_a_child_process_that_dies(tmp_path):
    assert get(quorum.die_at_first.delay(str(tmp_path / "ran"))) is True


def test_nothing_is_left(worker):
    def left():
        with quorum.app.connection_for_read() as connection:
            return connection.default_channel.queue_declare(quorum.TASKS, passive=True).message_count

    eventually(lambda: left() == 0)
