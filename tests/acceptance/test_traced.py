"""A worker is killed in a step: the trace goes on in another worker."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.stage import SetUp, Stage
from tests.integration.traced import exporting, id_of

Line = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    #: The span of the send, and the trace that it is in.
    send: int
    trace: int
    #: What has begun, and what has ended, in workers.
    begun: list[Line]
    ended: list[Line]

    def named(self, name: str) -> list[Line]:
        return [line for line in self.begun if line["name"] == name]


@pytest.fixture(scope="module")
def seen(set_up: SetUp) -> Seen:
    with set_up(TEST_LEASE="2", module="tests.acceptance.traced") as stage:
        victim = stage.worker("victim", "-c", "1").ready()
        with exporting() as spans:
            handle = stage.send("steps", {"count": 3, "hold": 1})
        stage.wait_for("begin", handle.id, 1)
        victim.kill()
        stage.worker("rescuer", "-c", "1").ready()
        stage.open()
        stage.finished(handle)

        send = spans.one("send steps")
        (trace,) = spans.traces
        return Seen(id_of(send), trace, lines(stage, "begun"), lines(stage, "ended"))


def lines(stage: Stage, name: str) -> list[Line]:
    file = stage.directory / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_all_spans_are_in_the_trace_of_the_send(seen: Seen) -> None:
    assert {line["trace"] for line in seen.begun} == {seen.trace}


def test_both_attempts_are_within_the_send(seen: Seen) -> None:
    first, second = seen.named("attempt steps")

    assert [first["parent"], second["parent"]] == [seen.send] * 2
    assert first["pid"] != second["pid"]


def test_each_step_is_within_the_attempt_that_ran_it_and_the_one_that_was_replayed_in_one_only(
    seen: Seen,
) -> None:
    first, second = (line["id"] for line in seen.named("attempt steps"))

    assert [line["parent"] for line in seen.named("step step")] == [first] * 2 + [second] * 2


def test_what_was_killed_has_never_ended_and_all_else_has(seen: Seen) -> None:
    first, second = seen.named("attempt steps")
    done, killed, again, last = seen.named("step step")

    ended = {line["id"]: line["outcome"] for line in seen.ended}
    assert set(ended) == {line["id"] for line in (done, again, last, second)}
    assert set(ended.values()) == {"completed"}
    assert {first["id"], killed["id"]}.isdisjoint(ended)
