"""MongoDB is killed, and frozen, under load, for longer than leases last."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, own_mongod, seconds_until_end
from tests.support import Worker, eventually
from worchflow_celery import ExecutionHandle
from worchflow_celery.clock import elapsed, utcnow
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.servers import MongoServer

LEASE = 3.0
STORE_TIMEOUT = 1.0
#: Longer than a lease and the time for which a silent one is watched.
LENGTH = LEASE + LEASE / 2 + 2
#: The pools of a stage's workers, and the flow that one of their slots is held in.
POOLS = {"prefork": "steps", "threads": "async-steps"}
SLOTS = 3

#: How each store is hurt, and how it comes back.
MISHAPS: dict[str, tuple[Callable[[MongoServer], None], Callable[[MongoServer], None]]] = {
    "killed": (MongoServer.kill, MongoServer.start),
    "frozen": (MongoServer.pause, MongoServer.resume),
}


@dataclass
class Outage:
    """What happens on one stage."""

    stage: Stage
    server: MongoServer
    workers: list[Worker]
    #: Held in a step whose function returns while the store is away.
    held: list[ExecutionHandle[int]] = field(default_factory=list)
    #: In short steps, one after the other, when the store goes: on all other slots.
    busy: list[ExecutionHandle[int]] = field(default_factory=list)
    #: Waiting for their turn.
    queued: list[ExecutionHandle[int]] = field(default_factory=list)
    #: Its worker starts while the store is away.
    early: ExecutionHandle[int] | None = None
    gone_at: datetime | None = None
    #: Seconds that a send took to fail while the store was away.
    refused_after: float = 0.0
    #: Of all of them, and of the send that was refused and repeated.
    stories: dict[str, list[Story]] = field(default_factory=dict)
    resent_effects: int = 0

    def begin(self, strike: Callable[[MongoServer], None]) -> None:
        for worker in self.workers:
            worker.ready()
        for pool, flow in POOLS.items():
            queue = self.stage.queue(pool)
            self.held.append(self.stage.send(flow, {"count": 3, "hold": 1}, queue=queue))
            for _ in range(SLOTS - 1):
                data = {"count": 40, "pace": 0.1}
                self.busy.append(self.stage.send("steps", data, queue=queue))
        for handle in self.held + self.busy:
            self.stage.wait_for("begin", handle.id, 1)
        for _ in range(10):
            self.queued.append(self.stage.send("steps", {"count": 3}))
        self.early = self.stage.send("steps", {"count": 3}, queue=self.stage.queue("late"))

        strike(self.server)
        self.gone_at = utcnow()
        self.stage.open()
        start(self.stage, "late", *POOLS)

    def send(self) -> None:
        began = elapsed()
        with pytest.raises(StoreUnavailable):
            self.stage.send("quick", 1, id="again")
        self.refused_after = elapsed() - began

    def come_back(self, heal: Callable[[MongoServer], None]) -> None:
        """The store is back, but its old workers are slower than the one that suspects them."""
        for worker in self.workers:
            worker.pause()
        heal(self.server)
        eventually(self.suspected, within=20, what="the leases are seen to be silent")
        for worker in self.workers:
            worker.resume()

    def suspected(self) -> bool:
        leases = [self.stage.documents(handle)[0] for handle in self.held + self.busy]
        return all(lease.get("suspect", {}).get("beat") == lease["beat"] for lease in leases)

    def end(self) -> None:
        handles = {
            "held": self.held,
            "busy": self.busy,
            "queued": self.queued,
            "early": [self.early],
            "resent": [self.stage.send("quick", 1, id="again")],
        }
        for name, some in handles.items():
            self.stories[name] = [self.stage.finished(one, within=60) for one in some if one]
        self.resent_effects = self.stage.diary.counts()["quick again"]


@pytest.fixture(scope="module")
def outages(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outage]:
    with ExitStack() as opened:
        played = {name: prepare(set_up, tmp_path_factory, opened) for name in MISHAPS}
        for name, outage in played.items():
            outage.begin(MISHAPS[name][0])
        for outage in played.values():
            outage.send()
        last = max(outage.gone_at for outage in played.values() if outage.gone_at)
        eventually(lambda: (utcnow() - last).total_seconds() > LENGTH, what="a long outage")
        for name, outage in played.items():
            outage.come_back(MISHAPS[name][1])
        for outage in played.values():
            outage.end()
        return played


def prepare(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory, opened: ExitStack) -> Outage:
    server = opened.enter_context(own_mongod(tmp_path_factory.mktemp("mongod")))
    stage = opened.enter_context(
        set_up(
            database_url=server.url,
            TEST_LEASE=str(LEASE),
            TEST_STORE_TIMEOUT=str(STORE_TIMEOUT),
        )
    )
    return Outage(stage, server, [start(stage, pool) for pool in POOLS])


def start(stage: Stage, name: str, *others: str) -> Worker:
    """A worker with a queue of its own, the default one, and those of others."""
    queues = [stage.bench.prefix, *map(stage.queue, [name, *others])]
    pool = name if name in POOLS else "threads"
    return stage.worker(name, "-P", pool, "-c", str(SLOTS), "-Q", ",".join(queues))


each_mishap = pytest.mark.parametrize("mishap", MISHAPS)
all_kinds = pytest.mark.parametrize("which", ["held", "busy", "queued", "early", "resent"])


@each_mishap
@all_kinds
def test_executions_go_on_after_an_outage(
    outages: dict[str, Outage], mishap: str, which: str
) -> None:
    stories = outages[mishap].stories[which]

    assert {story.execution.status for story in stories} == {"completed"}


@each_mishap
@all_kinds
def test_an_outage_takes_nothing_from_a_living_worker_and_costs_no_attempt(
    outages: dict[str, Outage], mishap: str, which: str
) -> None:
    for story in outages[mishap].stories[which]:
        assert story.outcomes == ["completed"]
        assert (story.execution.attempt, story.execution.crashes) == (1, 0)


@each_mishap
@pytest.mark.parametrize("which", ["held", "busy", "queued", "early"])
def test_a_step_whose_function_has_returned_does_not_run_again_in_an_outage(
    outages: dict[str, Outage], mishap: str, which: str
) -> None:
    for story in outages[mishap].stories[which]:
        assert set(story.begun) == {1}


@each_mishap
def test_the_outage_met_executions_under_way(outages: dict[str, Outage], mishap: str) -> None:
    outage = outages[mishap]
    assert outage.gone_at is not None

    for story in outage.stories["held"] + outage.stories["busy"]:
        assert seconds_until_end(story, outage.gone_at) > LENGTH
        assert story.execution.started_at < outage.gone_at


@each_mishap
def test_send_is_refused_within_the_store_timeout(outages: dict[str, Outage], mishap: str) -> None:
    assert outages[mishap].refused_after <= STORE_TIMEOUT * 1.5


@each_mishap
def test_a_send_that_was_refused_can_be_repeated_with_its_id(
    outages: dict[str, Outage], mishap: str
) -> None:
    assert outages[mishap].resent_effects == 1
