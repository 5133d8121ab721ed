"""User code that raises what nobody expects: an attempt fails, its worker does not."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.unruly import ERRORS, build
from tests.support import Bench, Worker, eventually, workers
from worchflow_celery import Execution
from worchflow_celery.servers import Servers

FLOWS = ["in-flow", "in-step", "in-async-step"]
KB8 = 8192
#: What is recorded where it is not the name of what was raised.
TYPES = {
    "exit": "SystemExit",
    "exit well": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "generator exit": "GeneratorExit",
    "cancelled": "CancelledError",
    "odd": "Odd",
    "group": "BaseExceptionGroup",
    "stop": "StopIteration",
    "no memory": "MemoryError",
    "recursion": "RecursionError",
    "unpicklable": "Unpicklable",
    "holds a function": "HoldsAFunction",
    "needs two": "NeedsTwo",
    "mute": "Mute",
    "mute base": "MuteBase",
    "50 MB": "ValueError",
    "50 MB base": "Odd",
    "long chain": "KeyError",
    "never": "Never",
}


@dataclass
class Played:
    worker: Worker
    executions: dict[tuple[str, str], Execution]
    #: Pids of its pool processes, before and after.
    children: tuple[list[int], list[int]]
    quick: object


@pytest.fixture(scope="module", params=["prefork", "threads"])
def played(
    request: pytest.FixtureRequest,
    running_servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Played]:
    """One worker meets all that its flows may raise, and then an honest flow."""
    directory = tmp_path_factory.mktemp("unruly")
    prefix = f"t{uuid.uuid4().hex[:10]}"
    bench = Bench(running_servers.redis_url, running_servers.database_url, prefix)
    app, worchflow = build(place(bench))
    with workers(bench, directory, "tests.integration.unruly") as start:
        worker = start("-P", request.param, "-c", "2").ready()
        before = worker.children()
        keys = [(flow, kind) for kind in ERRORS for flow in FLOWS]
        handles = {(flow, kind): worchflow.flows[flow].send(kind) for flow, kind in keys}
        quick = worchflow.flows["quick"].send("quick")
        eventually(lambda: all(one.status.finished for one in handles.values()), within=90)
        executions = {key: handle.get() for key, handle in handles.items()}
        yield Played(worker, executions, (before, worker.children()), quick.result(10))
    worchflow.close()
    app.close()
    bench.clean()


def place(bench: Bench) -> dict[str, str]:
    return {
        "TEST_REDIS_URL": bench.redis_url,
        "TEST_DATABASE_URL": bench.database_url,
        "TEST_PREFIX": bench.prefix,
    }


each = pytest.mark.parametrize(
    "key", [(flow, kind) for flow in FLOWS for kind in ERRORS], ids=lambda key: "-".join(key)
)


@each
def test_whatever_is_raised_is_a_failed_attempt_and_retried(
    played: Played, key: tuple[str, str]
) -> None:
    execution = played.executions[key]

    assert execution.status == "failed"
    assert [one.outcome for one in execution.attempts] == ["retrying", "failed"]
    assert (execution.attempt, execution.crashes) == (2, 0)


@each
def test_the_error_is_recorded_by_its_name_in_8_kb(played: Played, key: tuple[str, str]) -> None:
    error = played.executions[key].error

    assert error is not None
    # Python itself makes a RuntimeError of it in a coroutine.
    expected = "RuntimeError" if key == ("in-async-step", "stop") else TYPES[key[1]]
    assert error.type == expected
    assert len(error.message.encode()) <= KB8
    assert 0 < len((error.traceback or "").encode()) <= KB8


def test_the_worker_and_its_processes_live_on(played: Played) -> None:
    before, after = played.children

    assert before == after
    assert played.worker.process.poll() is None


def test_other_executions_go_on(played: Played) -> None:
    assert played.quick == "quick"


def test_the_log_does_not_take_the_whole_text_of_a_huge_error(played: Played) -> None:
    assert len(played.worker.text()) < 5_000_000
