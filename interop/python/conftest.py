"""Fixtures of all tests: connections that are closed, and names that are deleted, whatever the test does."""

import pika
import pytest

import broker


@pytest.fixture
def connect():
    """Opens blocking connections that are closed after the test."""
    opened = []

    def open_connection(**changes):
        connection = pika.BlockingConnection(broker.parameters(**changes))
        opened.append(connection)
        return connection

    yield open_connection
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


@pytest.fixture
def queue(channel):
    """The name of an empty exclusive queue, owned by `connection`."""
    name = broker.unique("queue")
    channel.queue_declare(name, exclusive=True)
    return name


@pytest.fixture
def shared_queue(connect):
    """Makes queues that any connection may use; they are deleted after the test."""
    owner = connect().channel()
    names = []

    def declare(**arguments):
        name = broker.unique("queue")
        owner.queue_declare(name, **arguments)
        names.append(name)
        return name

    yield declare
    for name in names:
        owner.queue_delete(name)


@pytest.fixture
def exchange(connect):
    """Makes exchanges of a type; they are deleted after the test."""
    owner = connect().channel()
    names = []

    def declare(exchange_type, **arguments):
        name = broker.unique(exchange_type)
        owner.exchange_declare(name, exchange_type, **arguments)
        names.append(name)
        return name

    yield declare
    for name in names:
        owner.exchange_delete(name)


def pytest_report_header():
    return f"broker under test: {broker.HOST}:{broker.PORT}"
