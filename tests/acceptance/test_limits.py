"""Two workers and a limit: nobody runs above it, nobody is left behind, also after a SIGKILL."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from tests.acceptance.stage import SetUp, Stage, Story
from tests.support import eventually
from worchflow_celery import Execution, ExecutionHandle
from worchflow_celery.clock import utcnow

LEASE = 3.0
CUSTOMERS = ("ann", "bob", "cid")
EACH = 12


@dataclass(frozen=True)
class Crowd:
    """Three customers' executions, on a prefork and a threads worker."""

    at_once: list[Execution]
    throttled: list[Execution]
    #: What the steps wrote, in order.
    diary: list[str]
    #: Claims of each execution with a limit on how many run at once.
    claims: list[int]


@pytest.fixture(scope="module")
def crowd(set_up: SetUp) -> Crowd:
    with set_up() as stage:
        for name, pool in (("processes", "prefork"), ("threads", "threads")):
            stage.worker(name, "-P", pool, "-c", "4").ready()
        at_once = send(stage, "two-at-once", EACH, pace=0.05)
        throttled = send(stage, "throttled", EACH)
        ended = [stage.finished(handle, 60).execution for handle in at_once]
        started = [stage.finished(handle, 60).execution for handle in throttled]
        claims = [stage.documents(handle)[0]["epoch"] for handle in at_once]
        return Crowd(ended, started, stage.diary.lines(), claims)


def send(stage: Stage, flow: str, each: int, **data: object) -> list[ExecutionHandle[int]]:
    return [
        stage.send(flow, {"count": 2, "customer": customer, **data}, id=f"{flow}-{customer}-{n}")
        for n in range(each)
        for customer in CUSTOMERS
    ]


def most_at_once(lines: Iterable[str], flow: str) -> dict[str, int]:
    """Per customer, how many executions of a flow were between two lines of theirs at a time."""
    running: dict[str, set[str]] = defaultdict(set)
    most: Counter[str] = Counter()
    for line in lines:
        what, execution, number = line.split()
        if not execution.startswith(f"{flow}-"):
            continue
        customer = execution.split("-")[-2]
        running[customer].add(execution)
        most[customer] = max(most[customer], len(running[customer]))
        if (what, number) == ("end", "1"):
            running[customer].discard(execution)
    return dict(most)


def test_never_more_run_at_once_than_the_limit_of_each_customer(crowd: Crowd) -> None:
    assert most_at_once(crowd.diary, "two-at-once") == dict.fromkeys(CUSTOMERS, 2)


def test_all_of_them_complete_in_their_first_attempt(crowd: Crowd) -> None:
    ended = [*crowd.at_once, *crowd.throttled]

    outcomes = Counter((one.status, one.attempt, one.crashes, len(one.attempts)) for one in ended)

    assert outcomes == {("completed", 1, 0, 1): 2 * EACH * len(CUSTOMERS)}


def test_an_execution_is_claimed_when_it_comes_and_when_it_is_called(crowd: Crowd) -> None:
    # A little more is allowed for those that come while the line is being closed.
    assert sum(crowd.claims) <= 2.2 * len(crowd.claims)


@pytest.mark.parametrize("customer", CUSTOMERS)
def test_no_window_has_more_starts_than_the_throttle(crowd: Crowd, customer: str) -> None:
    starts = sorted(
        one.started_at
        for one in crowd.throttled
        if one.data["customer"] == customer and one.started_at is not None
    )

    assert len(starts) == EACH
    assert most_in_a_second(starts) == 4
    # Two windows are waited for; a dispatcher calls when they open, and not at some later look.
    assert starts[-1] - starts[0] <= timedelta(seconds=20)


def most_in_a_second(starts: list[datetime]) -> int:
    second = timedelta(seconds=1)
    return max(sum(first <= one < first + second for one in starts) for first in starts)


# -- SIGKILL ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    #: The one that had the slot, and the one behind it.
    holder: Story
    waiting: Story
    #: When each of two pools' workers was killed.
    at: datetime
    diary: list[str]


@pytest.fixture(scope="module", params=["prefork", "threads"])
def killed(set_up: SetUp, request: pytest.FixtureRequest) -> Killed:
    with set_up(TEST_LEASE=str(LEASE)) as stage:
        victims = stage.queue("victims")
        victim = stage.worker("victim", "-P", request.param, "-c", "2", "-Q", victims).ready()
        data = {"count": 2, "customer": "ann"}
        holder = stage.send(
            "one-at-once", {**data, "hold": 1}, id="one-at-once-ann-1", queue=victims
        )
        stage.wait_for("begin", holder.id, 1)
        waiting = stage.send("one-at-once", data, id="one-at-once-ann-2", queue=victims)
        eventually(lambda: waiting.status == "waiting", what="it waits for the slot")
        queues = f"{victims},{stage.bench.prefix}"
        stage.worker("rescuer", "-P", request.param, "-c", "2", "-Q", queues).ready()

        at = utcnow()
        victim.kill()
        stage.wait_for("begin", holder.id, 1, times=2)
        stage.open()

        ended = stage.finished(holder), stage.finished(waiting)
        return Killed(*ended, at, stage.diary.lines())


def test_a_killed_worker_s_slot_is_in_use_again_within_lease_and_three_seconds(
    killed: Killed,
) -> None:
    again = killed.holder.execution.attempts[-1].started_at

    assert killed.holder.places == ["victim", "rescuer"]
    assert again is not None
    assert again - killed.at <= timedelta(seconds=LEASE + 3)


def test_whoever_waits_for_a_killed_worker_s_slot_comes_next(killed: Killed) -> None:
    holder, waiting = killed.holder.execution, killed.waiting.execution

    assert waiting.started_at is not None
    assert holder.finished_at is not None
    assert waiting.started_at >= holder.finished_at
    assert waiting.started_at - holder.finished_at <= timedelta(seconds=1)
    assert (waiting.status, waiting.attempt, waiting.crashes) == ("completed", 1, 0)


def test_a_crash_lets_nobody_above_the_limit(killed: Killed) -> None:
    assert most_at_once(killed.diary, "one-at-once") == {"ann": 1}


def test_a_worker_that_was_paused_for_longer_than_its_lease_lets_nobody_above_the_limit(
    set_up: SetUp,
) -> None:
    with set_up(TEST_LEASE="2") as stage:
        sleepers = stage.queue("sleepers")
        sleeper = stage.worker("sleeper", "-P", "threads", "-c", "2", "-Q", sleepers).ready()
        data = {"count": 2, "customer": "ann"}
        first = {**data, "hold": 0}
        holder = stage.send("one-at-once", first, id="one-at-once-ann-1", queue=sleepers)
        stage.wait_for("begin", holder.id, 0)
        waiting = stage.send("one-at-once", data, id="one-at-once-ann-2", queue=sleepers)
        eventually(lambda: waiting.status == "waiting", what="it waits for the slot")

        sleeper.pause()
        queues = f"{sleepers},{stage.bench.prefix}"
        stage.worker("rescuer", "-P", "threads", "-c", "2", "-Q", queues).ready()
        stage.wait_for("begin", holder.id, 0, times=2)
        sleeper.resume()
        eventually(lambda: "was taken over" in sleeper.text(), what="it sees that it was late")
        assert waiting.status == "waiting"
        stage.open()

        stage.finished(waiting)
        assert stage.finished(holder).places == ["sleeper", "rescuer"]
        assert most_at_once(stage.diary.lines(), "one-at-once") == {"ann": 1}
