"""An app for real workers whose flows raise what flows should not."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from celery import Celery

from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.errors import RetryAfter

MEGABYTE = 1_000_000


class Odd(BaseException):
    pass


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle this error")


class HoldsAFunction(Exception):
    def __init__(self) -> None:
        super().__init__("holds a function")
        self.callback = lambda: None


class NeedsTwo(Exception):
    """Pickles, and cannot be loaded again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Mute(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


class MuteBase(BaseException):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


class Never(RetryAfter):
    def __init__(self) -> None:
        super().__init__(0.1, "never")
        self.when = "never"  # type: ignore[assignment]


def chained(depth: int) -> Exception:
    error: Exception = ValueError("the first one")
    for _ in range(depth):
        error, error.__cause__ = KeyError("the next one"), error
    return error


def recurse() -> Exception:
    return recurse()


ERRORS: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(1),
    "exit well": lambda: SystemExit(0),
    "interrupt": KeyboardInterrupt,
    "generator exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "odd": lambda: Odd("odd"),
    "group": lambda: BaseExceptionGroup("several", [SystemExit(1), ValueError("x")]),
    "stop": StopIteration,
    "no memory": MemoryError,
    "recursion": recurse,
    "unpicklable": lambda: Unpicklable("unpicklable"),
    "holds a function": HoldsAFunction,
    "needs two": lambda: NeedsTwo("one", "two"),
    "mute": Mute,
    "mute base": MuteBase,
    "50 MB": lambda: ValueError("x" * 50 * MEGABYTE),
    "50 MB base": lambda: Odd("x" * 50 * MEGABYTE),
    "long chain": lambda: chained(3000),
    "never": Never,
}


def build(environment: Mapping[str, str]) -> tuple[Celery, Worchflow]:
    app = Celery("unruly", broker=environment["TEST_REDIS_URL"], set_as_current=False)
    app.conf.update(
        task_default_queue=environment["TEST_PREFIX"],
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
    )
    worchflow = Worchflow(
        app,
        database_url=environment["TEST_DATABASE_URL"],
        prefix=environment["TEST_PREFIX"],
        lease_ttl=4,
    )
    define(worchflow)
    return app, worchflow


def define(worchflow: Worchflow) -> None:
    def fail(kind: str) -> None:
        raise ERRORS[kind]()

    @worchflow.flow("in-flow", retries=1, retry_delay=0)
    def in_flow(event: Event[str], step: Step) -> None:
        step.run("before", int)
        fail(event.data)

    @worchflow.flow("in-step", retries=1, retry_delay=0)
    def in_step(event: Event[str], step: Step) -> None:
        step.run("before", int)
        step.run("fail", fail, event.data)

    @worchflow.flow("in-async-step", retries=1, retry_delay=0)
    async def in_async_step(event: Event[str], step: AsyncStep) -> None:
        await step.run("before", int)
        await step.run("fail", fail, event.data)

    @worchflow.flow("quick")
    def quick(event: Event[Any], step: Step) -> Any:
        return step.run("echo", lambda: event.data)


if "TEST_PREFIX" in os.environ:
    app, worchflow = build(os.environ)
