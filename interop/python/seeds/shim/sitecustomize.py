"""Lets a program that says `localhost`, port 5672, reach the broker under test instead, without a change of the program.

Python imports this module at the start of every interpreter that has this folder on PYTHONPATH. It changes one thing: what the name
`localhost` together with port 5672 resolves to. Clients in pure Python, pika and py-amqp among them, ask `socket.getaddrinfo`.
"""

import os
import socket

BROKER = (os.environ["WARRENMQ_HOST"], int(os.environ["WARRENMQ_PORT"]))

resolve = socket.getaddrinfo


def resolve_to_the_broker(host, port, *arguments, **options):
    if host in ("localhost", "127.0.0.1", "::1") and str(port) == "5672":
        host, port = BROKER
    return resolve(host, port, *arguments, **options)


socket.getaddrinfo = resolve_to_the_broker
