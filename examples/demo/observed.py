"""What a worker of the demo does beside its work: `celery worker --include` brings it in.

It uses the names that the demo has chosen. It tells the log when it is ready, and whenever a
checkpoint has been stored. And it ends with the demo, however that ends.
"""

import os
import signal
import threading
from typing import Any

from celery.signals import worker_init, worker_ready

from examples.demo import effects, place
from examples.demo.flows import app
from worchflow_celery import signals

place.move_in(app)


@worker_init.connect
def end_with_the_demo(**_: Any) -> None:
    """Watch the standard input, a pipe whose other end only the demo holds."""
    threading.Thread(target=_wait_for_the_end, name="demo-leash", daemon=True).start()


@worker_ready.connect
def tell_ready(**_: Any) -> None:
    effects.write("ready")


@signals.step_completed.connect
def tell_stored(execution_id: str, key: str, **_: Any) -> None:
    effects.write("stored", f"{execution_id}:{key}")


def _wait_for_the_end() -> None:
    # Not sys.stdin: pool processes close it, and its lock, held here, would be held there, too.
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
