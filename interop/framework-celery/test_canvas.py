"""What tasks are composed to. The results are in files, so that every chord waits in `celery.chord_unlock`, a task that
retries until its header is done: a stream of messages with a countdown."""

import pytest
from celery import chain, chord, group
from kombu.common import uuid

import app
from app import add, fail, total
from workers import SOON

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("pair")]


def get(result):
    return result.get(timeout=SOON, interval=0.05)


def test_group():
    assert get(group(add.s(number, number) for number in range(50))()) == [2 * number for number in range(50)]


def test_chain_of_groups():
    """A group in the middle of a chain is made a chord."""
    result = chain(add.s(1, 1), group(add.s(10), add.s(20)), total.s(), add.s(100)).apply_async()
    assert get(result) == 134


def test_chord():
    assert get(chord((add.s(number, 1) for number in range(20)), total.s())()) == 210


def test_chord_in_a_chord():
    inner = chord([add.s(1, 2), add.s(3, 4)], total.s())
    assert get(chord([inner, add.s(5, 6)], total.s())()) == 21


def test_chord_with_a_header_that_fails():
    result = chord([add.s(1, 2), fail.s("on purpose")], total.s())()
    with pytest.raises(Exception, match="on purpose"):
        get(result)


def test_chunks_and_maps():
    assert get(add.chunks(zip(range(10), range(10)), 5)()) == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]]
    assert get(add.starmap([(1, 2), (3, 4)]).apply_async()) == [3, 7]
    assert get(total.map([[1, 2], [3, 4]]).apply_async()) == [3, 7]


def test_a_task_that_is_replaced():
    assert get(app.replaced.delay(20, 22)) == 42


def test_link_and_link_error(tmp_path):
    from workers import eventually, lines

    good, bad = tmp_path / "good", tmp_path / "bad"
    add.apply_async((1, 2), link=app.note.si(str(good), "linked"))
    fail.apply_async(("x",), link_error=app.note.si(str(bad), "failed"))
    eventually(lambda: lines(good) == ["linked"] and lines(bad) == ["failed"])


def test_a_broadcast_queue_reaches_every_worker(tmp_path):
    """`Broadcast` is a fanout exchange with a queue of its own for each worker."""
    from workers import eventually, lines

    path, word = tmp_path / "everywhere", uuid()
    app.note.apply_async((str(path), word), queue=app.EVERYWHERE)
    eventually(lambda: lines(path) == [word, word])
