"""An application whose queues are all quorum queues, as Celery's documentation says to set it up.

Such a worker gives its prefetch to each consumer instead of the channel, and tasks with a countdown wait in the broker: in a
chain of 28 queues with a time to live of 1, 2, 4, … s, each of which dead-letters to the next (`celery_delayed_27` to `_0`).
"""

import os

from celery import Celery
from kombu import Exchange, Queue

RUN = os.environ["INTEROP_RUN"] + ".quorum"
TASKS, LATE = f"{RUN}.tasks", f"{RUN}.late"
EXCHANGE = Exchange(f"{RUN}.topic", type="topic")

app = Celery(
    "quorum",
    broker=f"pyamqp://guest:guest@{os.environ['AMQP_HOST']}:{os.environ['AMQP_PORT']}//",
    backend=os.environ["INTEROP_BACKEND"],
)
app.conf.update(
    task_default_queue=TASKS,
    task_default_queue_type="quorum",
    task_default_exchange=EXCHANGE.name,
    task_default_exchange_type="topic",
    task_default_routing_key=TASKS,
    task_queues=[
        Queue(name, EXCHANGE, routing_key=name, queue_arguments={"x-queue-type": "quorum"}) for name in (TASKS, LATE)
    ],
    control_exchange=RUN,
    event_exchange=f"{RUN}.events",
    event_queue_prefix=f"{RUN}.event",
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=2,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={"confirm_publish": True},
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def retry(self, times):
    """Fails so often, each time with a delay of a second."""
    if self.request.retries < times:
        raise self.retry(countdown=1)
    return self.request.retries


@app.task(bind=True)
def die_at_first(self, path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), 9)
    return bool(self.request.delivery_info["redelivered"])
