"""A beat dies at the worst moment, documents are damaged, entries change: the next one goes on."""

import signal
from dataclasses import dataclass
from datetime import datetime

import pytest

from tests.acceptance.beats import Room, room, without_holes
from tests.support import eventually
from worchflow_celery.models import Window
from worchflow_celery.servers import Servers

#: Entries of the code, and those which are there after they have changed in a running beat.
ENTRIES, CHANGED = ("removed", "changed", "rare"), ("added", "changed")


@dataclass(frozen=True)
class Deaths:
    exit_code: int
    #: What a beat left that was killed between an execution and its cursor.
    half_done: list[datetime]
    seen: datetime
    windows: list[Window]
    executions: list[datetime]
    broken: list[datetime]
    log: str
    #: By ordinary entry.
    messages: dict[str, int]


@pytest.fixture(scope="module")
def deaths(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Deaths:
    with room(
        tmp_path_factory.mktemp("deaths"),
        redis_url=running_servers.redis_url,
        database_url=running_servers.database_url,
        TEST_POLICIES="all latest",
        TEST_ENTRIES=" ".join(ENTRIES),
    ) as opened:
        exit_code = opened.beat("dies", TEST_DIES="yes").process.wait(30)
        half_done = [*opened.executions("all"), *opened.executions("latest")]
        seen = cursor(opened, "all")
        damage(opened, "latest")
        follower = opened.beat("follows", TEST_CHANGES="yes")
        opened.grow("all", 4)
        eventually(lambda: all(map(opened.messages, CHANGED)), within=30, what=opened.log())
        assert follower.stop() == 0
        return Deaths(
            exit_code,
            half_done,
            seen,
            opened.windows("all"),
            opened.executions("all"),
            opened.executions("latest"),
            follower.text(),
            {entry: opened.messages(entry) for entry in {*ENTRIES, *CHANGED}},
        )


def cursor(opened: Room, flow: str) -> datetime:
    seen: datetime = opened.bench.collection("schedules").find_one({"_id": f"flow:{flow}"})["seen"]
    return seen


def damage(opened: Room, flow: str) -> None:
    schedules = opened.bench.collection("schedules")
    assert schedules.update_one({"_id": f"flow:{flow}"}, {"$set": {"seen": []}}).modified_count


def test_it_died_with_executions_stored_and_cursors_where_they_were(deaths: Deaths) -> None:
    assert deaths.exit_code == -signal.SIGKILL
    assert deaths.half_done
    assert deaths.seen < min(deaths.half_done)


def test_what_it_left_half_done_is_not_done_again(deaths: Deaths) -> None:
    assert without_holes(deaths.executions)
    assert deaths.executions == [window.scheduled_for for window in deaths.windows]
    assert deaths.executions[0] == min(deaths.half_done)


def test_a_damaged_schedule_is_set_aside_with_an_error_and_others_go_on(deaths: Deaths) -> None:
    assert deaths.log.count("The schedule of flow latest cannot be read: it is set aside") == 1
    assert set(deaths.broken) <= set(deaths.half_done)


def test_entries_that_change_while_beat_runs_are_fired_as_they_are(deaths: Deaths) -> None:
    assert {entry for entry, count in deaths.messages.items() if count} == set(CHANGED)
