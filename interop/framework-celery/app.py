"""The Celery application of these tests: its queues and tasks.

Workers are processes of their own that import this module. `$INTEROP_RUN` names the run, so that a worker means the same
queues as the test that started it; `$INTEROP_PORT` is the port of another broker.
"""

import os
import signal
import time

from celery import Celery
from celery.exceptions import Reject
from celery.worker.control import control_command, inspect_command
from kombu import Exchange, Queue
from kombu.common import Broadcast

RUN = os.environ["INTEROP_RUN"]
HOST = os.environ["AMQP_HOST"]
PORT = int(os.environ.get("INTEROP_PORT") or os.environ["AMQP_PORT"])
BACKEND = os.environ["INTEROP_BACKEND"]

# Queues by what they are for.
TASKS, PRIORITY, LATE, FRAGILE, REJECTING, DEAD, EVERYWHERE = (
    f"{RUN}.{name}" for name in ("tasks", "priority", "late", "fragile", "rejecting", "dead", "everywhere")
)
EXCHANGE = Exchange(f"{RUN}.topic", type="topic")


def queue(name, **arguments):
    return Queue(name, EXCHANGE, routing_key=name, queue_arguments=arguments)


app = Celery("frameworks", broker=f"pyamqp://guest:guest@{HOST}:{PORT}//", backend=BACKEND)
app.conf.update(
    task_queues=[
        queue(TASKS),
        queue(LATE),
        queue(FRAGILE),
        queue(DEAD),
        queue(REJECTING, **{"x-dead-letter-exchange": EXCHANGE.name, "x-dead-letter-routing-key": DEAD}),
        queue(PRIORITY, **{"x-max-priority": 10}),
        Broadcast(EVERYWHERE),
    ],
    task_default_queue=TASKS,
    task_default_exchange=EXCHANGE.name,
    task_default_exchange_type="topic",
    task_default_routing_key=TASKS,
    task_create_missing_queues=False,
    control_exchange=RUN,
    event_exchange=f"{RUN}.events",
    event_queue_prefix=f"{RUN}.event",
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_send_sent_event=True,
    task_track_started=True,
    result_expires=300,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=100,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(text):
    raise ValueError(text)


@app.task
def note(path, line):
    """Adds a line to a file, which a test reads."""
    with open(path, "a") as file:
        file.write(f"{line}\n")


@app.task
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@app.task(bind=True, acks_late=True)
def late(self, path, seconds):
    """Notes that it began, takes its time when delivered first, returns whether it was delivered before."""
    redelivered = bool(self.request.delivery_info["redelivered"])
    note(path, self.request.id)
    if not redelivered:
        time.sleep(seconds)
    return redelivered


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def die_at_first(self, path):
    """Kills the child process that runs it the first time."""
    if not os.path.exists(path):
        note(path, "ran")
        os.kill(os.getpid(), signal.SIGKILL)
    return bool(self.request.delivery_info["redelivered"])


@app.task(bind=True, acks_late=True)
def refuse(self, requeue_until_redelivered):
    """Rejects its message: once with requeue, or for good."""
    if requeue_until_redelivered and self.request.delivery_info["redelivered"]:
        return "again"
    raise Reject("on purpose", requeue=requeue_until_redelivered)


@app.task(bind=True)
def replaced(self, x, y):
    raise self.replace(add.s(x, y))


@inspect_command(args=[("word", str)])
def say(state, word=None):
    return {"said": word, "by": state.hostname}


@control_command(args=[("path", str)])
def touch(state, path=None):
    note(path, state.hostname)
    return {"ok": "touched"}
