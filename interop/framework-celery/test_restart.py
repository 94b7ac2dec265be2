"""A worker whose broker is restarted under it. `$AMQP_RESTART` is the command that does it."""

import os
import subprocess

import pytest

import app
from workers import SOON, count, eventually, lines

@pytest.mark.skipif("AMQP_RESTART" not in os.environ, reason="no broker that may be restarted")
def test_a_worker_outlives_the_broker(start, tmp_path):
    """The broker is restarted while a task runs: the worker connects again, and what was in the queue is done."""
    port = os.environ["AMQP_RESTART_PORT"]
    worker = start("patient", [app.LATE], "-P", "threads", "-c", "1", INTEROP_PORT=port)
    path = str(tmp_path / "begun")
    with app.app.connection_for_write(f"pyamqp://guest:guest@{app.HOST}:{port}//") as connection:
        results = [
            app.late.apply_async((path, 1), queue=app.LATE, connection=connection, retry=False) for _ in range(3)
        ]
    eventually(lambda: lines(path))
    subprocess.run(os.environ["AMQP_RESTART"], shell=True, check=True, timeout=60)
    for result in results:
        assert result.get(timeout=SOON, interval=0.05) in (True, False)
    with app.app.connection_for_write(f"pyamqp://guest:guest@{app.HOST}:{port}//") as connection:
        after = app.add.apply_async((1, 1), queue=app.LATE, connection=connection)
    assert after.get(timeout=SOON, interval=0.05) == 2
    assert worker.process.poll() is None
    assert count(app.LATE, port)[0] == 0
