"""Time limits inside running Python code: where they strike, and where they must not."""

import gc
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from worchflow_celery.clock import elapsed
from worchflow_celery.deadlines import Deadline, Watch
from worchflow_celery.errors import ExecutionTimeout, StepTimeout

#: Long enough never to come in a test.
HOUR = 3600.0
#: Seconds within which a limit strikes, also on a machine that is busy with other things.
SOON = 10.0


@pytest.fixture
def watch() -> Watch:
    return Watch()


def limit(seconds: float, error: type[Exception] = StepTimeout) -> Deadline:
    return Deadline(elapsed() + seconds, error, f"longer than {seconds:g} s")


def until(condition: Callable[[], object]) -> None:
    """Be busy in Python code; give up when no limit strikes."""
    give_up = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def for_ever() -> None:
    until(lambda: False)


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_code_that_runs_too_long_is_interrupted(watch: Watch) -> None:
    with pytest.raises(StepTimeout, match=r"^longer than 0\.05 s$"):
        watch.call(limit(0.05), for_ever)


def test_code_that_computes_without_a_pause_is_interrupted(watch: Watch) -> None:
    with pytest.raises(StepTimeout):
        watch.call(limit(0.05), lambda: spin(SOON))


def test_the_interruption_shows_where_the_code_was(watch: Watch) -> None:
    with pytest.raises(StepTimeout) as caught:
        watch.call(limit(0.05), for_ever)

    frames = traceback.extract_tb(caught.value.__cause__.__traceback__)  # type: ignore[union-attr]
    assert "for_ever" in [frame.name for frame in frames]


def test_a_blocking_call_is_interrupted_when_it_returns(watch: Watch) -> None:
    after = []

    def block() -> None:
        time.sleep(0.2)
        after.append("reached")

    with pytest.raises(StepTimeout):
        watch.call(limit(0.05), block)

    assert after == []


def test_cleanup_of_interrupted_code_runs(watch: Watch) -> None:
    cleaned = []

    def clean() -> None:
        try:
            for_ever()
        finally:
            cleaned.append(True)

    with pytest.raises(StepTimeout):
        watch.call(limit(0.05), clean)

    assert cleaned == [True]


def test_code_that_ends_in_time_returns_its_value(watch: Watch) -> None:
    assert watch.call(limit(HOUR), lambda: 5) == 5


def test_a_limit_does_not_strike_after_its_code_has_ended(watch: Watch) -> None:
    deadline = limit(0.05)
    watch.call(deadline, lambda: None)

    until(lambda: elapsed() > deadline.at + 0.1)

    assert not deadline.expired


@pytest.mark.parametrize(
    "error", [ValueError("own"), StepTimeout("own"), StepTimeout(), KeyboardInterrupt()], ids=repr
)
def test_what_the_code_raises_itself_is_raised_as_it_is(watch: Watch, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        watch.call(limit(HOUR), fail)

    assert caught.value is error


def test_an_interruption_that_the_code_swallows_is_raised_after_it(watch: Watch) -> None:
    def swallow() -> str:
        with suppress(StepTimeout):
            for_ever()
        return "a value that came too late"

    with pytest.raises(StepTimeout, match="longer than"):
        watch.call(limit(0.05), swallow)


def test_an_interruption_that_the_code_swallows_is_raised_at_its_next_step(watch: Watch) -> None:
    deadline = limit(0.05)
    reached = []

    def swallow() -> None:
        try:
            for_ever()
        except StepTimeout:
            reached.append("swallowed")
        with deadline.suspended():
            reached.append("step")
        reached.append("after the step")

    with pytest.raises(StepTimeout, match="longer than"):
        watch.call(deadline, swallow)

    assert reached == ["swallowed", "step"]


def test_a_suspended_section_is_not_interrupted(watch: Watch) -> None:
    deadline = limit(0.05)
    reached = []

    def suspend() -> None:
        with deadline.suspended():
            until(lambda: elapsed() > deadline.at + 0.2)
            reached.append("end of the section")
        reached.append("after the section")

    with pytest.raises(StepTimeout, match="longer than"):
        watch.call(deadline, suspend)

    assert reached == ["end of the section"]


def test_user_code_does_not_begin_after_its_limit(watch: Watch) -> None:
    deadline = limit(0.01)
    reached = []

    def suspend() -> None:
        with deadline.suspended():
            until(lambda: deadline.expired)
            deadline.within(lambda: reached.append("begun"))

    with pytest.raises(StepTimeout, match="longer than"):
        watch.call(deadline, suspend)

    assert reached == []


@pytest.mark.parametrize(("outer", "inner", "error"), [(0.05, HOUR, "A"), (HOUR, 0.05, "B")])
def test_of_two_limits_the_earlier_one_strikes(
    watch: Watch, outer: float, inner: float, error: str
) -> None:
    attempt = Deadline(elapsed() + outer, ExecutionTimeout, "A")
    step = Deadline(elapsed() + inner, StepTimeout, "B")

    def flow() -> None:
        with attempt.suspended():
            watch.call(step, lambda: attempt.within(for_ever))

    with pytest.raises((ExecutionTimeout, StepTimeout), match=f"^{error}$"):
        watch.call(attempt, flow)


def test_each_of_many_threads_meets_its_own_limit_only(watch: Watch) -> None:
    together = threading.Barrier(40)

    def one(number: int) -> str:
        together.wait()
        deadline = Deadline(elapsed() + 0.05 + number / 400, StepTimeout, f"of {number}")
        try:
            if number % 2:
                return watch.call(deadline, lambda: "in time")
            watch.call(deadline, for_ever)
        except StepTimeout as error:
            return str(error)
        return "not interrupted"

    with ThreadPoolExecutor(40) as pool:
        results = list(pool.map(one, range(40)))

    assert results == ["in time" if n % 2 else f"of {n}" for n in range(40)]


def races(watch: Watch, attempts: int) -> list[str]:
    """Let code end at the very moment of its limit, again and again; tell how each try ended."""
    ends = []
    for number in range(attempts):
        try:
            ends.append(watch.call(limit(0.001), lambda n=number: spin(n % 20 / 10_000) or "value"))
        except StepTimeout as error:
            ends.append(str(error))
        spin(0.0002)  # nothing may strike here
    return ends


def test_a_limit_that_races_with_the_end_strikes_inside_or_never(watch: Watch) -> None:
    with ThreadPoolExecutor(4) as pool:
        ends = [end for ends in pool.map(lambda _: races(watch, 150), range(4)) for end in ends]

    assert set(ends) == {"value", "longer than 0.001 s"}
    assert len(ends) == 600


def steps_under(watch: Watch, attempt: Deadline, step_limit: float) -> None:
    """A flow of many short steps, each with a limit of its own."""
    while True:
        with attempt.suspended():
            try:
                watch.call(limit(step_limit), lambda: attempt.within(lambda: spin(0.0001)))
            finally:
                attempt.disarm()


@pytest.mark.parametrize("step_limit", [HOUR, 0.00012])
def test_no_limit_strikes_in_what_makes_the_others(watch: Watch, step_limit: float) -> None:
    for _ in range(100):
        attempt = limit(0.003, ExecutionTimeout)
        with pytest.raises((ExecutionTimeout, StepTimeout), match="longer than"):
            watch.call(attempt, lambda attempt=attempt: steps_under(watch, attempt, step_limit))

    with pytest.raises(StepTimeout), ThreadPoolExecutor(1) as pool:  # the watch is as it was
        pool.submit(lambda: watch.call(limit(0.01), for_ever)).result(SOON)


def living() -> int:
    gc.collect()
    return sum(isinstance(one, Deadline) for one in gc.get_objects())


def test_long_limits_that_have_ended_are_forgotten(watch: Watch) -> None:
    for _ in range(2000):
        watch.call(limit(HOUR), lambda: None)

    assert living() < 200


def test_forgetting_some_limits_keeps_the_others(watch: Watch) -> None:
    def many() -> Any:
        for _ in range(500):
            watch.call(limit(HOUR), lambda: None)
        return for_ever()

    with pytest.raises(StepTimeout, match=r"longer than 0\.3 s"):
        watch.call(limit(0.3), many)


def test_one_thread_watches_and_only_once_there_is_something_to_watch() -> None:
    def watching() -> int:
        return sum(thread.name == "worchflow-deadlines" for thread in threading.enumerate())

    before = watching()
    watch = Watch()
    none = watching()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: watch.call(limit(HOUR), lambda: None), range(50)))

    assert (none, watching()) == (before, before + 1)
