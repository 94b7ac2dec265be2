"""Fixtures: the run's names, workers that end with their test, and queues and exchanges that end with the run."""

import os
import shutil
import tempfile

import pytest

import workers

# Results are files: no other server is needed, and chords are joined by polling.
RESULTS = tempfile.mkdtemp()
os.environ.update(INTEROP_RUN=workers.unique("celery"), INTEROP_BACKEND=f"file://{RESULTS}")


@pytest.fixture(scope="session", autouse=True)
def clean():
    import app

    yield
    shutil.rmtree(RESULTS)
    with app.app.connection_for_write() as connection:
        channel = connection.default_channel
        for queue in (app.TASKS, app.PRIORITY, app.LATE, app.FRAGILE, app.REJECTING, app.DEAD):
            channel.queue_delete(queue)
        for name in (app.EXCHANGE.name, app.EVERYWHERE, f"{app.RUN}.events", f"{app.RUN}.pidbox"):
            channel.exchange_delete(name)
        channel.exchange_delete(f"reply.{app.RUN}.pidbox")


@pytest.fixture
def start(tmp_path):
    """Starts workers; the logs of those that ran are shown when the test fails."""
    started = []

    def start_worker(name, queues, *options, **settings):
        worker = workers.Worker(name, tmp_path, queues, *options, **settings)
        started.append(worker)
        return worker.wait_until_ready()

    yield start_worker
    for worker in started:
        worker.stop()
        print(f"{worker.name}:\n{worker.log.read_text()}")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two workers for the tests of a module: one with child processes, one with threads."""
    import app

    folder = tmp_path_factory.mktemp("workers")
    queues = [app.TASKS, app.EVERYWHERE]
    both = [
        workers.Worker("first", folder, queues, "-c", "2"),
        workers.Worker("second", folder, queues, "-P", "threads", "-c", "2"),
    ]
    for worker in both:
        worker.wait_until_ready()
    yield both
    for worker in both:
        worker.stop()
        print(f"{worker.name}:\n{worker.log.read_text()}")
