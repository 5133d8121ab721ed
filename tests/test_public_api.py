"""What users import, and what merely importing it must not do."""

import importlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import worchflow_celery
from worchflow_celery import (
    AsyncStep,
    Event,
    Execution,
    ExecutionHandle,
    ExecutionStatus,
    Flow,
    Step,
    StepRecord,
    Worchflow,
    errors,
    signals,
)

ROOT = Path(__file__).parent.parent

CLASSES = """Worchflow Flow Event Step AsyncStep Execution StepRecord ExecutionStatus
ExecutionHandle""".split()
MODULES = ["signals", "errors"]
#: Of the scheduler.
LATER = ["Scheduler", "cron"]

ERRORS = """InvalidEventData UnserializableResult PayloadTooLarge ExecutionConflict
ExecutionNotFound ScheduleNotFound InvalidTransition StoreUnavailable StepMisuse ExecutionFailed
ExecutionTimeout StepTimeout WorkerLost ChildFailed TaskFailed NonRetriableError
RetryAfter""".split()

SIGNALS = {
    "execution_started": ["execution_id", "flow", "attempt"],
    "execution_completed": ["execution_id", "flow", "result"],
    "execution_failed": ["execution_id", "flow", "error", "attempt", "will_retry"],
    "execution_updated": ["execution_id", "flow", "status"],
    "step_completed": ["execution_id", "flow", "step", "key"],
    "step_failed": ["execution_id", "flow", "step", "key", "error"],
}

FIELDS: dict[type, str] = {
    Event: "id name data timestamp attempt",
    Execution: """id flow data status attempt crashes result error attempts created_at updated_at
        started_at finished_at due_at worker trigger parent_id scheduled_for
        compensated paused progress""",
    StepRecord: """execution_id key name kind status result error attempt started_at
        finished_at""",
}

#: What the contract gives these, with the defaults.
SIGNATURES: list[tuple[Any, dict[str, Any]]] = [
    (
        Worchflow.flow,
        {
            "id": None,
            "retries": 0,
            "retry_delay": 1.0,
            "retry_backoff": False,
            "retry_backoff_max": 600,
            "retry_jitter": True,
            "timeout": None,
            "search": (),
        },
    ),
    (
        Flow.send,
        dict.fromkeys(["data", "id", "delay", "eta", "queue", "priority"]),
    ),
    (
        Worchflow.find,
        {**dict.fromkeys("status flow search after before cursor".split()), "limit": 50},
    ),
    (Step.run, {"retries": 0, "retry_delay": 1.0, "timeout": None}),
    (AsyncStep.run, {"retries": 0, "retry_delay": 1.0, "timeout": None}),
    (Step.map, {"concurrency": 4}),
    (AsyncStep.map, {"concurrency": 4}),
    (ExecutionHandle.result, {"timeout": None}),
]

METHODS = {
    Worchflow: "flow send get handle steps retry pause resume flows find ping close",
    ExecutionHandle: "get status result retry pause resume",
    Step: "run map gather progress attempt execution_id idempotency_key",
    AsyncStep: "run map gather progress attempt execution_id idempotency_key",
    Flow: "send delay apply_async s si signature retry",
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_the_contract_is_importable_from_the_top(name: str) -> None:
    assert inspect.isclass(getattr(worchflow_celery, name))
    assert name in worchflow_celery.__all__


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_the_contract_is_importable_both_ways(name: str) -> None:
    assert getattr(worchflow_celery, name) is importlib.import_module(f"worchflow_celery.{name}")
    assert name in worchflow_celery.__all__


def test_nothing_else_is_public() -> None:
    assert set(worchflow_celery.__all__) <= {*CLASSES, *MODULES, *LATER}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_the_contract_exists(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.WorchflowError)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_of_the_contract_exists_with_its_arguments(name: str) -> None:
    assert sorted(getattr(signals, name).providing_args) == sorted(SIGNALS[name])


@pytest.mark.parametrize(("cls", "names"), FIELDS.items())
def test_what_a_user_reads_has_the_contract_s_fields(cls: type, names: str) -> None:
    fields = getattr(cls, "model_fields", None) or vars(cls)["__dataclass_fields__"]

    assert list(fields) == names.split()


def test_an_execution_has_seven_statuses_that_are_text() -> None:
    words = "queued processing retrying waiting completed failed cancelled".split()

    assert list(ExecutionStatus) == words
    assert all(isinstance(status, str) for status in ExecutionStatus)


@pytest.mark.parametrize(("function", "expected"), SIGNATURES)
def test_a_call_has_the_contract_s_arguments_and_defaults(
    function: Any, expected: dict[str, Any]
) -> None:
    parameters = inspect.signature(function).parameters

    assert {name: parameters[name].default for name in expected} == expected


@pytest.mark.parametrize(("cls", "names"), METHODS.items())
def test_a_class_has_what_the_contract_names(cls: type, names: str) -> None:
    assert [name for name in names.split() if not hasattr(cls, name)] == []


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_says_what_it_is(name: str) -> None:
    assert (getattr(worchflow_celery, name).__doc__ or "").strip()


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert worchflow_celery.__version__ == project["version"]


def test_type_checkers_are_told_of_our_annotations() -> None:
    assert (ROOT / "worchflow_celery" / "py.typed").is_file()


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


BIND = """
from celery import Celery
from pydantic import BaseModel
from worchflow_celery import Event, Step, Worchflow

app = Celery("shop", broker="redis://broker.invalid", set_as_current=False)
worchflow = Worchflow(app, database_url="mongodb://db.invalid/shop")

@worchflow.flow("pay", retries=3)
def pay(event: Event[int], step: Step) -> int:
    return event.data
"""


@pytest.mark.parametrize("code", ["import worchflow_celery", BIND], ids=["import", "bind"])
def test_an_import_warns_of_nothing_and_says_nothing(code: str) -> None:
    result = run(code)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("code", ["import worchflow_celery", BIND], ids=["import", "bind"])
def test_an_import_opens_no_socket_and_starts_no_thread(code: str) -> None:
    watch = """
import sys, threading
seen = []
kinds = ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "os.fork")
sys.addaudithook(lambda event, args: seen.append(event) if event in kinds else None)
"""
    result = run(f"{watch}\n{code}\nprint(seen, threading.active_count())")

    assert result.stdout == "[] 1\n", result.stderr


def test_an_import_leaves_out_what_only_tests_and_workers_need() -> None:
    result = run(
        f"{BIND}\nimport sys\n"
        "print([name for name in sys.modules if name.startswith('worchflow_celery.servers')])"
    )

    assert result.stdout == "[]\n", result.stderr
