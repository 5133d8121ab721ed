"""Any number of `celery beat` processes: killed, paused, stopped, and every window once."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.acceptance.beats import INTERVAL, TTL, Room, Told, room, without_holes
from tests.support import eventually, workers
from worchflow_celery.models import Window
from worchflow_celery.servers import Servers

#: Seconds that a busy machine may take to do what takes no time.
SLACK = 1.0


@pytest.fixture(scope="module")
def urls(running_servers: Servers) -> dict[str, str]:
    return {
        "redis_url": running_servers.redis_url,
        "database_url": running_servers.database_url,
    }


@pytest.fixture(scope="module")
def five(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Five beats and a worker, a few windows later."""
    directory = tmp_path_factory.mktemp("five")
    with (
        room(directory, **urls) as opened,
        workers(opened.bench, directory, "tests.acceptance.timed") as start,
    ):
        for number in range(5):
            opened.beat(f"beat{number}")
        start("-P", "solo").ready()
        for number in range(5):
            opened.wait("scheduler_ready", beat=f"beat{number}")
        opened.grow("all", 4)
        for beat in opened.beats.values():
            beat.end()
        eventually(
            lambda: len(set(opened.diary.lines()) & ran(opened)) == len(opened.executions("all")),
            within=20,
        )
        yield opened


def ran(opened: Room) -> set[str]:
    """The lines that executions of all windows write."""
    return {f"ran {window.execution_id}" for window in opened.windows("all")}


def test_of_five_beats_one_leads(five: Room) -> None:
    assert len(five.told("leader_acquired")) == 1


def test_five_beats_fire_each_window_and_each_once(five: Room) -> None:
    windows = five.windows("all")

    assert {window.outcome for window in windows} <= {"fired", "missed-ran"}
    assert five.executions("all") == [window.scheduled_for for window in windows]
    assert without_holes(five.executions("all"))


def test_a_worker_runs_each_window_once(five: Room) -> None:
    counts = five.diary.counts()

    assert {line: counts[line] for line in ran(five)} == dict.fromkeys(ran(five), 1)


@dataclass(frozen=True)
class Relay:
    """Three beats that lost their leader three times: killed, paused, stopped."""

    killed_at: float
    after_kill: Told
    paused_at: float
    after_pause: Told
    #: What the paused one told when it went on.
    woken: Told
    stopped_at: float
    exit_code: int
    last_words: list[Told]
    after_stop: Told
    told: list[Told]
    #: By policy.
    windows: dict[str, list[Window]]
    executions: dict[str, list[object]]
    messages: dict[str, int]


@pytest.fixture(scope="module")
def relay(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Relay:
    directory = tmp_path_factory.mktemp("relay")
    with room(directory, TEST_POLICIES="all latest skip", **urls) as opened:
        for name in ("one", "two", "three"):
            opened.beat(name)
            opened.wait("scheduler_ready", beat=name)
        opened.grow("all", 2)

        killed_at = opened.leader().signal(signal.SIGKILL)
        after_kill = opened.wait("leader_acquired", since=killed_at)
        eventually(lambda: len(opened.told("schedule_missed", since=killed_at)) >= 3)
        opened.grow("all", 2)

        paused = opened.leader()
        paused_at = paused.signal(signal.SIGSTOP)
        after_pause = opened.wait("leader_acquired", since=paused_at)
        opened.grow("all", 3)
        paused.signal(signal.SIGCONT)
        woken = opened.wait("leader_lost", beat=paused.name)

        leader = opened.leader()
        stopped_at = leader.signal(signal.SIGTERM)
        after_stop = opened.wait("leader_acquired", since=stopped_at)
        exit_code = leader.process.wait(20)
        opened.grow("all", 3)
        paused.stop()
        policies = ("all", "latest", "skip")
        return Relay(
            killed_at,
            after_kill,
            paused_at,
            after_pause,
            woken,
            stopped_at,
            exit_code,
            opened.told(beat=leader.name),
            after_stop,
            opened.told(),
            {policy: opened.windows(policy) for policy in policies},
            {policy: list(opened.executions(policy)) for policy in policies},
            {policy: opened.messages(policy) for policy in policies},
        )


def test_after_a_kill_another_beat_leads_within_ttl_and_check_interval(relay: Relay) -> None:
    assert relay.after_kill.at - relay.killed_at <= TTL + INTERVAL + SLACK


def test_after_a_pause_another_beat_leads_within_ttl_and_check_interval(relay: Relay) -> None:
    assert relay.after_pause.at - relay.paused_at <= TTL + INTERVAL + SLACK


def test_a_leader_that_was_paused_for_too_long_knows_that_it_leads_no_more(relay: Relay) -> None:
    terms = [one.detail for one in relay.told if one.signal == "leader_acquired"]

    assert relay.woken.detail == terms[1]


def test_after_a_clean_stop_another_beat_leads_within_the_check_interval(relay: Relay) -> None:
    assert relay.after_stop.at - relay.stopped_at <= INTERVAL + SLACK


def test_a_clean_stop_ends_well_and_is_told_last(relay: Relay) -> None:
    assert relay.exit_code == 0
    assert [one.signal for one in relay.last_words][-2:] == ["leader_lost", "scheduler_stopped"]


def test_every_window_is_there_whatever_became_of_its_leader(relay: Relay) -> None:
    for windows in relay.windows.values():
        assert without_holes([window.scheduled_for for window in windows])


def test_no_window_has_run_twice(relay: Relay) -> None:
    for policy, windows in relay.windows.items():
        run = [window.scheduled_for for window in windows if window.execution_id is not None]
        assert relay.executions[policy] == run
        # A leader that dies before it publishes leaves that to the dispatcher of a worker.
        assert relay.messages[policy] <= len(run)


def test_all_that_was_missed_runs_where_the_policy_is_all(relay: Relay) -> None:
    assert without_holes(relay.executions["all"])  # type: ignore[arg-type]
    assert "missed-ran" in {window.outcome for window in relay.windows["all"]}


def test_of_each_gap_the_newest_window_runs_where_the_policy_is_latest(relay: Relay) -> None:
    outcomes = [window.outcome for window in relay.windows["latest"]]

    after_skipped = {after for skipped, after in pairwise(outcomes) if skipped == "missed-skipped"}
    assert after_skipped - {"missed-skipped"} == {"missed-ran"}


def test_nothing_that_was_missed_runs_where_the_policy_is_skip(relay: Relay) -> None:
    assert {window.outcome for window in relay.windows["skip"]} == {"fired", "missed-skipped"}


def test_each_gap_is_told_once_for_each_flow(relay: Relay) -> None:
    told = [one for one in relay.told if one.signal == "schedule_missed"]

    after_kill = [one for one in told if relay.killed_at < one.at < relay.paused_at]
    assert sorted(one.detail for one in after_kill) == ["all", "latest", "skip"]
