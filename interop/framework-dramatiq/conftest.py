"""Fixtures: the run's names, workers that end with their test, and queues that end with the run."""

import os

import pytest

import workers

os.environ.setdefault("INTEROP_RUN", workers.unique("dramatiq"))


@pytest.fixture(scope="session", autouse=True)
def clean_broker():
    import app

    yield
    # The one of the tests may have lost its connection to a broker that was restarted.
    broker = app.connect()
    for queue in (app.TASKS, app.URGENT, app.SLOW, app.DOOMED):
        for suffix in ("", ".DQ", ".XQ"):
            broker.channel.queue_delete(queue + suffix)
    broker.close()


@pytest.fixture
def start(tmp_path):
    """Starts workers; the logs of those that ran are shown when the test fails."""
    started = []

    def start_worker(*options, **environment):
        worker = workers.Worker(tmp_path, *options, **environment)
        started.append(worker)
        return worker.wait_until_ready()

    yield start_worker
    for worker in started:
        worker.stop()
        print(worker.log.read_text())
