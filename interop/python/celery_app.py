"""The Celery application of `test_celery.py`: its tasks, and names of its own for every exchange and queue.

The worker processes and the test import this module; `$WARRENMQ_CELERY` names the run, so that all of them
mean the same application.
"""

import os
import time

from celery import Celery

import broker

RUN = os.environ.get("WARRENMQ_CELERY") or broker.unique("celery")
# A queue for each of the two workers beside the one they share, one that a worker is given at run time, and one
# for late acks.
FIRST_ONLY, SECOND_ONLY, ADDED, LATE = (f"{RUN}.{suffix}" for suffix in ("first", "second", "added", "late"))

app = Celery("interop", broker=f"pyamqp://guest:guest@{broker.HOST}:{broker.PORT}//", backend="rpc://")
app.conf.update(
    task_default_queue=RUN,
    task_default_exchange=RUN,
    task_default_routing_key=RUN,
    control_exchange=RUN,
    event_exchange=f"{RUN}.events",
    event_queue_prefix=f"{RUN}.event",
    result_exchange=f"{RUN}.results",
    result_expires=120,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_track_started=True,
    task_publish_retry=False,
    broker_connection_retry_on_startup=False,
)


@app.task
def add(x, y):
    return x + y


@app.task
def fail(text):
    raise ValueError(text)


@app.task
def echo(value):
    return value


@app.task(bind=True)
def where(self, seconds):
    """Takes its time and tells which worker ran it."""
    time.sleep(seconds)
    return self.request.hostname


@app.task(bind=True, max_retries=5)
def succeed_at_attempt(self, attempt):
    """Fails until it has been tried so often; returns the number of retries."""
    if self.request.retries + 1 < attempt:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(bind=True, max_retries=2)
def never_succeed(self):
    raise self.retry(exc=RuntimeError("never"), countdown=0.1)


@app.task(bind=True, acks_late=True)
def die_at_first(self, path):
    """Kills its worker the first time; delivered again, it tells whether it was marked as redelivered."""
    if not os.path.exists(path):
        open(path, "w").close()
        os.killpg(0, 9)
    return self.request.delivery_info["redelivered"]
