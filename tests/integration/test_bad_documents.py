"""Documents that somebody else has written to: named to who reads them, no harm to the others."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.unruly import build
from tests.support import Bench, Worker, eventually, workers
from worchflow_celery import ExecutionHandle, Worchflow
from worchflow_celery.errors import CorruptDocument, ExecutionFailed
from worchflow_celery.servers import Servers

NOW = datetime(2020, 1, 1, tzinfo=UTC)
NOT_JSON = "{nope"
#: Stands for a field that is not there.
MISSING = object()

#: What is wrong with an execution that a worker can take: it fails, and says why.
FAILING: dict[str, tuple[dict[str, Any], str]] = {
    "no-data": ({"data": MISSING}, "data: Field required"),
    "data-null": ({"data": None}, "data: "),
    "data-number": ({"data": 5}, "data: "),
    "data-corrupt": ({"data": NOT_JSON}, "stored data for flow 'quick': not JSON"),
    "no-created": ({"created_at": MISSING}, "created_at: Field required"),
    "created-text": ({"created_at": "yesterday"}, "created_at: "),
    "no-attempt": ({"attempt": MISSING}, "attempt: Field required"),
    "attempt-text": ({"attempt": "x"}, "attempt: "),
    "crashed-text": ({"crashed": "abc", "epoch": 1}, "crashed"),
    "crashed-number": ({"crashed": 5, "epoch": 1}, "cannot be read"),
    "priority-text": ({"priority": "high"}, "priority: "),
}
#: What no worker can take, or no message carry.
LEFT_ALONE: dict[str, dict[str, Any]] = {
    "no-epoch": {"epoch": MISSING},
    "epoch-text": {"epoch": "x"},
    "no-queue": {"queue": MISSING},
    "queue-list": {"queue": ["celery"]},
    "flow-list": {"flow": ["quick"]},
    "status-unknown": {"status": "nonsense"},
    "no-status": {"status": MISSING},
    "due-text": {"due_at": "now"},
    "publishes-text": {"publishes": "x", "epoch": 1, "attempt": 1},
    "waiting-publishes-text": {"publishes": "x", "status": "waiting"},
    "retrying-nothing": {"status": "retrying", "attempt": MISSING, "epoch": MISSING},
    "attempts-text": {"attempts": "x", "status": "processing", "owner": {"token": "t"}},
    "message-corrupt": {"message": NOT_JSON},
    "message-list": {"message": "[1]"},
    "message-headers": {"message": '{"headers": [1]}'},
}
#: What says nothing of the work itself: the execution is run.
RUN: dict[str, dict[str, Any]] = {
    "class-unknown": {"data": '{"$class":["os:mkdir",["x"]]}'},
    "not-before-text": {"not_before": "x"},
    "suspect-text": {
        "status": "processing",
        "suspect": "x",
        "owner": {"token": "t", "worker": "w"},
    },
    "no-owner": {"status": "processing"},
}
CHECKPOINT = {
    "key": "echo",
    "name": "echo",
    "seq": 1,
    "status": "completed",
    "result": "1",
    "attempt": 1,
    "epoch": 1,
    "started_at": NOW,
    "finished_at": NOW,
}
#: Checkpoints of executions that are resumed.
STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "step-empty": (dict.fromkeys(CHECKPOINT, MISSING), "step-empty echo' cannot be read"),
    "step-key": ({"key": 5}, "key: "),
    "step-epoch": ({"epoch": "x"}, "epoch: "),
    "step-attempt": ({"attempt": "x"}, "attempt: "),
    "step-error": ({"status": "failed", "error": "x"}, "error: "),
    "step-result": ({"result": NOT_JSON}, "checkpoint of step 'echo' .* cannot be read: not JSON"),
    "step-tag": ({"result": '{"$decimal":[1]}'}, "checkpoint of step 'echo' .* cannot be read"),
}


def without_missing(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not MISSING}


def queued(bench: Bench, execution_id: str, **changes: Any) -> dict[str, Any]:
    document = {
        "_id": execution_id,
        "flow": "quick",
        "data": "5",
        "data_hash": "x",
        "status": "queued",
        "attempt": 0,
        "epoch": 0,
        "beat": 0,
        "crashes": 0,
        "queue": bench.prefix,
        "trigger": {"kind": "send", "ref": None},
        "created_at": NOW,
        "updated_at": NOW,
        "due_at": NOW,
        "publishes": 0,
    }
    return without_missing({**document, **changes})


@dataclass
class Played:
    worker: Worker
    worchflow: Worchflow
    bench: Bench
    honest: list[ExecutionHandle[Any]]


@pytest.fixture(scope="module")
def played(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A worker whose collections are full of such documents, and of honest executions."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    bench = Bench(running_servers.redis_url, running_servers.database_url, prefix)
    app, worchflow = build(
        {
            "TEST_REDIS_URL": bench.redis_url,
            "TEST_DATABASE_URL": bench.database_url,
            "TEST_PREFIX": prefix,
        }
    )
    insert(bench)
    honest = [worchflow.flows["quick"].send(n, id=f"honest{n}", delay=n) for n in range(1, 10)]
    directory = tmp_path_factory.mktemp("documents")
    with workers(bench, directory, "tests.integration.unruly") as start:
        worker = start("-c", "2").ready()
        ended = {*FAILING, *STEPS, *RUN}
        executions = bench.collection("executions")
        query = {"_id": {"$in": sorted(ended)}, "status": {"$in": ["completed", "failed"]}}
        for handle in honest:
            handle.result(60)
        eventually(lambda: executions.count_documents(query) == len(ended), within=90)
        yield Played(worker, worchflow, bench, honest)
    worchflow.close()
    app.close()
    bench.clean()


def insert(bench: Bench) -> None:
    executions, steps = bench.collection("executions"), bench.collection("steps")
    executions.insert_one({"_id": "empty"})
    executions.insert_one({**queued(bench, "x"), "_id": 5})
    several = {name: changes for name, (changes, _) in FAILING.items()} | LEFT_ALONE | RUN
    for name, changes in several.items():
        executions.insert_one(queued(bench, name, **changes))
    for name, (changes, _) in STEPS.items():
        resumed = {"epoch": 1, "attempt": 1, "attempt_epoch": 1}
        executions.insert_one(queued(bench, name, **resumed))
        steps.insert_one({"_id": f"{name} echo", **without_missing({**CHECKPOINT, **changes})})


def test_the_worker_lives_on(played: Played) -> None:
    assert played.worker.process.poll() is None


def test_honest_executions_are_published_and_run(played: Played) -> None:
    assert [handle.result(1) for handle in played.honest] == list(range(1, 10))


def test_the_dispatcher_fails_at_none_of_them(played: Played) -> None:
    text = played.worker.text()

    assert "A sweep failed" not in text
    assert "broker does not answer" not in text


@pytest.mark.parametrize("name", FAILING)
def test_an_execution_that_cannot_be_read_fails_and_says_why(played: Played, name: str) -> None:
    document = played.bench.collection("executions").find_one({"_id": name})

    assert document is not None
    assert document["status"] == "failed"
    assert "due_at" not in document
    assert FAILING[name][1] in document["error"]["message"]


@pytest.mark.parametrize("name", RUN)
def test_an_execution_is_run_when_the_work_itself_is_readable(played: Played, name: str) -> None:
    document = played.bench.collection("executions").find_one({"_id": name})

    assert document is not None
    assert (document["status"], document.get("error")) == ("completed", None)


@pytest.mark.parametrize("name", STEPS)
def test_a_checkpoint_that_cannot_be_read_fails_its_execution(played: Played, name: str) -> None:
    with pytest.raises(ExecutionFailed, match=STEPS[name][1]) as failed:
        played.worchflow.handle(name).result(1)

    assert failed.value.error is not None
    assert failed.value.error.type in ("CorruptDocument", "UnserializableResult")


@pytest.mark.parametrize("name", sorted({*STEPS} - {"step-tag"}))
def test_a_checkpoint_that_cannot_be_read_is_named_to_who_asks(played: Played, name: str) -> None:
    with pytest.raises(CorruptDocument, match=f"step '{name} echo' cannot be read"):
        played.worchflow.steps(name)


UNREADABLE = ["empty", "no-data", "data-corrupt", "created-text", "attempt-text", "status-unknown"]


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("read", [Worchflow.get, Worchflow.handle])
def test_an_execution_that_cannot_be_read_is_named_to_who_asks(
    played: Played, read: Callable[..., object], name: str
) -> None:
    with pytest.raises(CorruptDocument, match=f"execution '{name}' cannot be read .*: repair"):
        read(played.worchflow, name)


ENDED: dict[str, tuple[dict[str, Any], str]] = {
    "no-status": ({"status": MISSING}, "no status"),
    "an-unknown-status": ({"status": "done"}, "no status"),
    "a-corrupt-result": ({"status": "completed", "result": NOT_JSON}, "not JSON"),
    "a-number-as-result": ({"status": "completed", "result": 5}, "TypeError"),
    "a-text-as-error": ({"status": "failed", "error": "x"}, "valid dictionary"),
}


@pytest.mark.parametrize("name", ENDED)
def test_a_result_that_cannot_be_read_is_named_to_who_waits(
    bench: Bench, worchflow: Worchflow, name: str
) -> None:
    changes, why = ENDED[name]
    handle = worchflow.send("elsewhere", 1, id=name)
    executions = bench.collection("executions")
    executions.replace_one({"_id": name}, queued(bench, name, **changes))

    with pytest.raises(CorruptDocument, match=f"'{name}' cannot be read .*{why}"):
        handle.result(1)
