"""Whoever reaches the broker can write messages: at most they wake an execution that is due."""

import base64
import json
import os
import pickle
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.unruly import build
from tests.support import Bench, Worker, eventually, workers
from worchflow_celery import Execution, ExecutionHandle, Worchflow
from worchflow_celery.errors import ExecutionNotFound
from worchflow_celery.publisher import HEADER
from worchflow_celery.servers import Servers

EMPTY = [[], {}, {}]


class Evil:
    """Whoever decodes it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Hostile:
    """A message: its body, what its headers say, how it is encoded."""

    body: Any = None
    headers: dict[str, Any] | None = None
    kind: Any = "application/json"

    def envelope(self, queue: str, execution_id: str) -> str:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"lang": "py", "task": "quick", "id": execution_id, **(self.headers or {})}
        return json.dumps(
            {
                "body": base64.b64encode(body).decode(),
                "content-type": self.kind,
                "content-encoding": "binary" if self.kind != "application/json" else "utf-8",
                "headers": headers,
                "properties": {
                    "body_encoding": "base64",
                    "delivery_info": {"exchange": "", "routing_key": queue},
                    "delivery_tag": str(uuid.uuid4()),
                },
            }
        )


def deep(levels: int) -> bytes:
    return b"[[" + b"[" * levels + b"]" * levels + b"],{},{}]"


#: Dropped with a line in the log. With our header they are said to be ours, without to be Celery's.
DROPPED: dict[str, Hostile] = {
    "not JSON": Hostile(b"not json"),
    "1 MB of junk": Hostile(b"\xff" + os.urandom(1_000_000)),
    "an empty array": Hostile([]),
    "an array of numbers": Hostile([1, 2, 3]),
    "an object": Hostile({}),
    "a number": Hostile(5),
    "null": Hostile(),
    "100,000 brackets": Hostile(b"[" * 100_000),
    "deeply nested": Hostile(deep(250)),
    "very deeply nested": Hostile(deep(900)),
    "arguments that are none": Hostile([{"a": 1}, [], {}]),
    "followers that are none": Hostile([[1], {}, []]),
    "a broken tag of kombu's": Hostile([[{"__type__": "uuid", "__value__": "junk"}], {}, {}]),
    "yaml": Hostile(b"!!python/object/apply:os.mkdir [x]", kind="application/x-yaml"),
    "an unknown type": Hostile(b"x", kind="application/x-unknown"),
    "no type": Hostile(EMPTY, kind=None),
    "a type that is none": Hostile(EMPTY, kind=["a"]),
    "an id that is null": Hostile(EMPTY, {"id": None}),
    "an id that is a list": Hostile(EMPTY, {"id": ["a"]}),
    "an id that is an operator": Hostile(EMPTY, {"id": {"$gt": ""}, HEADER: 1}),
    "an id that is a number": Hostile(EMPTY, {"id": 5, HEADER: 1}),
    "an id of 1 MB": Hostile(EMPTY, {"id": "a" * 1_000_000, HEADER: 1}),
    "an id in red": Hostile(EMPTY, {"id": "\x1b[31m\n", HEADER: 1}),
    "a window's id": Hostile([[1], {}, {}], {"id": "cron:quick@2030-01-01T00:00:00Z"}),
    "a time that is none": Hostile(EMPTY, {"eta": "soon"}),
    "an end that is none": Hostile(EMPTY, {"expires": [1]}),
    "limits that are none": Hostile(EMPTY, {"timelimit": ["a", "b"]}),
    "limits that are an object": Hostile(EMPTY, {"timelimit": {"a": 1}}),
}
#: Of nobody: Celery itself says so.
UNKNOWN: dict[str, Hostile] = {
    "no task": Hostile(EMPTY, {"task": None}),
    "an unknown task": Hostile(EMPTY, {"task": "nothing\n"}),
    "an unknown flow": Hostile(EMPTY, {"task": "nothing\x1b[31m", HEADER: 1}),
}
#: As another project sends them, with data that no flow can take.
REFUSED: dict[str, tuple[Hostile, str]] = {
    "three arguments": (Hostile([[1, 2, 3], {}, {}]), "takes one argument"),
    "another keyword": (Hostile([[], {"payload": 1}, {}]), "takes one argument"),
    "not a number": (Hostile(b"[[NaN],{},{}]"), "no finite number"),
    "infinity": (Hostile(b"[[1e400],{},{}]"), "no finite number"),
    "a surrogate": (Hostile(b'[["\\ud800"],{},{}]'), "lone surrogate"),
    "nested": (Hostile(deep(150)), "nesting > 100"),
    "5 MB": (Hostile([["x" * 5_000_000], {}, {}]), "the limit is 4194304"),
}


@dataclass
class Played:
    worker: Worker
    worchflow: Worchflow
    bench: Bench
    pickled: Path
    ids: dict[str, str]
    honest: list[ExecutionHandle[Any]]
    known: dict[str, Execution]


@pytest.fixture(scope="module")
def played(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A worker gets all of them, and between them messages that are honest."""
    directory = tmp_path_factory.mktemp("hostile")
    prefix = f"t{uuid.uuid4().hex[:10]}"
    bench = Bench(running_servers.redis_url, running_servers.database_url, prefix)
    app, worchflow = build(
        {
            "TEST_REDIS_URL": bench.redis_url,
            "TEST_DATABASE_URL": bench.database_url,
            "TEST_PREFIX": prefix,
        }
    )
    with workers(bench, directory, "tests.integration.unruly") as start:
        worker = start("-c", "2").ready()
        played = Played(worker, worchflow, bench, directory / "pickled", {}, [], {})
        play(played)
        yield played
    worchflow.close()
    app.close()
    bench.clean()


def play(played: Played) -> None:
    quick = played.worchflow.flows["quick"]
    evil = pickle.dumps([[Evil(played.pickled)], {}, {}])
    pickles = {
        "pickle": Hostile(evil, kind="application/x-python-serialize"),
        "pickle that says it is ours": Hostile(
            evil, {HEADER: 1}, kind="application/x-python-serialize"
        ),
    }
    refused = {name: hostile for name, (hostile, _) in REFUSED.items()}
    for name, hostile in {**DROPPED, **pickles, **UNKNOWN, **refused}.items():
        push(played, name, hostile)
        played.honest.append(quick.send(name))
    later = quick.send("later", id="later", delay=3600)
    other = played.worchflow.flows["in-flow"].send("exit", id="other", delay=3600)
    done = quick.send("done", id="done")
    done.result(60)
    for handle in (later, other, done):
        push(played, f"wake {handle}", Hostile([["evil"], {}, {}], {HEADER: 1}), handle.id)
        push(played, f"adopt {handle}", Hostile([["evil"], {}, {}]), handle.id)
    push(played, "nobody", Hostile(EMPTY, {HEADER: 1}), "nobody")
    played.honest.append(quick.send("last"))
    for handle in played.honest:
        handle.result(60)
    eventually(lambda: played.bench.messages() == 0, what="the queue is empty")
    played.known = {one.id: one.get() for one in (later, other, done)}


def push(played: Played, name: str, hostile: Hostile, execution_id: str | None = None) -> None:
    played.ids[name] = execution_id or f"hostile-{len(played.ids)}"
    envelope = hostile.envelope(played.bench.prefix, played.ids[name])
    with played.bench.broker() as broker:
        broker.lpush(played.bench.prefix, envelope)


def test_the_worker_lives_on(played: Played) -> None:
    assert played.worker.process.poll() is None


def test_honest_executions_between_them_are_run(played: Played) -> None:
    results = [handle.result(1) for handle in played.honest]

    assert results == [
        *DROPPED,
        "pickle",
        "pickle that says it is ours",
        *UNKNOWN,
        *REFUSED,
        "last",
    ]


@pytest.mark.parametrize("name", [*DROPPED, *UNKNOWN, "pickle", "nobody"])
def test_no_execution_comes_of_it(played: Played, name: str) -> None:
    with pytest.raises(ExecutionNotFound):
        played.worchflow.get(played.ids[name])


def test_nothing_is_stored_that_nobody_sent(played: Played) -> None:
    stored = played.bench.collection("executions").count_documents({})

    assert stored == len(played.honest) + len(played.known) + len(REFUSED)


def test_each_is_dropped_with_one_line(played: Played) -> None:
    lines = [line for line in played.worker.text().splitlines() if "was dropped: " in line]

    adopted = 3  # known ids with other data
    assert len(lines) == len(DROPPED) + 2 + adopted
    assert all(len(line) < 400 and line.isprintable() for line in lines)


def test_the_log_holds_none_of_their_payload(played: Played) -> None:
    text = played.worker.text()

    assert len(text) < 200_000
    assert "a" * 300 not in text
    assert "\x1b[31m" not in text


def test_nothing_pickled_is_decoded(played: Played) -> None:
    assert not played.pickled.exists()


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_ends_as_a_failed_execution(played: Played, name: str) -> None:
    execution = played.worchflow.get(played.ids[name])

    assert execution.status == "failed"
    assert execution.error is not None
    assert execution.error.type == "InvalidEventData"
    assert REFUSED[name][1] in execution.error.message


@pytest.mark.parametrize("execution_id", ["later", "other"])
def test_an_execution_that_is_not_due_is_not_woken(played: Played, execution_id: str) -> None:
    execution = played.known[execution_id]

    assert (execution.status, execution.attempts) == ("queued", [])


@pytest.mark.parametrize("execution_id", ["later", "other", "done"])
def test_a_message_changes_no_data(played: Played, execution_id: str) -> None:
    assert played.known[execution_id].data in ("later", "exit", "done")


def test_an_execution_that_has_ended_is_not_run_again(played: Played) -> None:
    execution = played.known["done"]

    assert (execution.status, execution.result) == ("completed", "done")
    assert len(execution.attempts) == 1
