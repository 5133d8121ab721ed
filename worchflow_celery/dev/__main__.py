"""`celery …` as development mode starts it: its app has the demo, and a first execution of it."""

import logging
import sys
from typing import Any

from celery.__main__ import main
from celery.signals import import_modules, worker_ready

from worchflow_celery import demo
from worchflow_celery.errors import WorchflowError

logger = logging.getLogger(__name__)


def add(sender: Any = None, **_: Any) -> None:
    """Give the demo to an app whose modules have just been imported."""
    demo.add(sender)


def begin(sender: Any = None, **_: Any) -> None:
    """Let the demo run once, as soon as a worker is there."""
    try:
        sender.app.worchflow.send(demo.DEMO, demo.Order(), id=demo.FIRST)
    except WorchflowError as error:
        logger.warning("The demo does not run: %s", error)


if __name__ == "__main__":
    import_modules.connect(add)
    worker_ready.connect(begin)
    sys.exit(main())
