"""A client of `cargo xtask chaos` on pika: what it is to do stands in interop/chaos.md."""

import sys
import threading
import time

import pika

HOST, PORT, NAME = sys.argv[1], int(sys.argv[2]), sys.argv[3]
QUEUES = ["chaos", "chaos-quorum"]
INTERVAL = 0.005
RETRY = 0.05
# Every wait of the library ends.
PARAMETERS = pika.ConnectionParameters(
    HOST,
    PORT,
    heartbeat=3,
    socket_timeout=10,
    stack_timeout=10,
    blocked_connection_timeout=20,
)

finish, end = threading.Event(), threading.Event()
lock = threading.Lock()


def say(text):
    with lock:
        print(text, flush=True)


def filler(number):
    return b"." * (number * 37 % 1500)


def for_ever(work):
    """Runs `work` on one connection after the other until it returns, which it does when all is done."""
    while True:
        connection = None
        try:
            connection = pika.BlockingConnection(PARAMETERS)
            work(connection)
            connection.close()
            return
        except Exception:
            # pika's errors have no class in common, and whatever it is, the next connection may do better.
            say("again")
            try:
                if connection is not None and connection.is_open:
                    connection.close()
            except Exception:
                pass
            time.sleep(RETRY)


def publisher():
    state = {"next": 1, "confirmed": 0}

    def work(connection):
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
        while True:
            # What was not confirmed is published again; after the word to finish, one more.
            last = finish.is_set()
            number = state["next"]
            body = f"{NAME} {number} ".encode() + filler(number)
            channel.basic_publish("", QUEUES[number % 2], body, persistent, mandatory=True)
            say(f"confirmed {number}")
            state["next"] += 1
            if last:
                return
            connection.sleep(INTERVAL)

    for_ever(work)
    say(f"attempted {state['next'] - 1}")


def consumer():
    def work(connection):
        channel = connection.channel()
        channel.basic_qos(prefetch_count=50)
        for queue in QUEUES:
            channel.basic_consume(queue, on_message)
        while not end.is_set():
            connection.process_data_events(time_limit=0.2)

    def on_message(channel, method, _properties, body):
        words = body.split(b" ", 2)
        if len(words) == 3 and words[1].isdigit() and words[2] == filler(int(words[1])):
            say(f"consumed {words[0].decode()} {int(words[1])}")
        else:
            say(f"torn {body[:60]!r}")
        channel.basic_ack(method.delivery_tag)

    for_ever(work)
    say("ended")


threads = [threading.Thread(target=publisher, daemon=True), threading.Thread(target=consumer, daemon=True)]
for thread in threads:
    thread.start()
for line in sys.stdin:
    {"finish": finish, "end": end}[line.strip()].set()
    if end.is_set():
        break
else:
    # Whoever has started this is gone.
    sys.exit(1)
for thread in threads:
    thread.join()
