"""The actors of these tests. Workers are processes of their own that import this module; `$INTEROP_RUN` names the run, and
`$INTEROP_PORT` is the port of another broker."""

import os
import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import CurrentMessage

RUN = os.environ["INTEROP_RUN"]
HOST = os.environ["AMQP_HOST"]
PORT = int(os.environ.get("INTEROP_PORT") or os.environ["AMQP_PORT"])
TASKS, URGENT, SLOW, DOOMED = (f"{RUN}.{name}" for name in ("tasks", "urgent", "slow", "doomed"))


def connect(port=PORT):
    made = RabbitmqBroker(url=f"amqp://guest:guest@{HOST}:{port}/%2F", max_priority=10, confirm_delivery=True)
    made.add_middleware(CurrentMessage())
    return made


broker = connect()
dramatiq.set_broker(broker)


def write(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\n")


@dramatiq.actor(queue_name=TASKS)
def note(path, line):
    """Adds a line to a file, which a test reads."""
    write(path, line)


@dramatiq.actor(queue_name=URGENT)
def urgent(path, line):
    write(path, line)


@dramatiq.actor(queue_name=TASKS, min_backoff=200, max_backoff=400, max_retries=3)
def fail(path, times):
    """Fails so often, noting each try with its time."""
    tries = CurrentMessage.get_current_message().options.get("retries", 0)
    write(path, f"{tries} {time.time()}")
    if tries < times:
        raise RuntimeError("on purpose")


@dramatiq.actor(queue_name=DOOMED, max_retries=0)
def doomed(path):
    write(path, "tried")
    raise RuntimeError("on purpose")


@dramatiq.actor(queue_name=SLOW)
def slow(path, name, seconds):
    write(path, f"begun {name}")
    time.sleep(seconds)
    write(path, f"ended {name}")


@dramatiq.actor(queue_name=TASKS)
def add(x, y):
    return x + y
