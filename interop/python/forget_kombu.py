"""Deletes the queues that kombu's suite uses, so that it begins with none.

The suite leaves messages in `priority_requeue_test`, and in the others when one of its tests fails; its next run
would receive them.
"""

import pika

import broker

QUEUES = [
    *("t", "test_empty", "test_ack", "test_requeue", "test_reject_requeue", "test_reject_no_requeue"),
    *(
        "simple_queue_test",
        "simple_buffer_test",
        "ttl_test",
        "ttl_simple_queue_test",
        "ttl_simple_buffer_test",
    ),
    *("priority_test", "priority_requeue_test", "priority_simple_queue_test", "priority_simple_buffer_test"),
]

if __name__ == "__main__":
    with pika.BlockingConnection(broker.parameters()) as connection:
        channel = connection.channel()
        for queue in QUEUES:
            channel.queue_delete(queue)
