"""The value of a step is the same on its first run and in every attempt after it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import deliver
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    ADA = "ada"


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Parcel:
    weight: Decimal
    sent: date | None = None


class Charge(BaseModel):
    id: UUID
    amount: Decimal
    at: datetime
    parcels: list[Parcel] = []


MOMENT = datetime(2030, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
CHARGE = Charge(id=UUID(int=7), amount=Decimal("1.50"), at=MOMENT, parcels=[Parcel(Decimal("2"))])
VALUES = [
    None,
    True,
    0,
    -(2**200),
    1.5,
    "text ü $",
    [],
    {"a": [1, {"b": None}]},
    {"$date": "no tag", "a.b": {"$set": 1}},
    {1: "one", (2, 3): "pair"},
    MOMENT,
    MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
    MOMENT.astimezone(ZoneInfo("Europe/Berlin")),
    MOMENT.replace(tzinfo=None),
    date(2030, 5, 6),
    time(7, 8, 9, 10),
    timedelta(days=-1, microseconds=1),
    Decimal("1.500"),
    UUID(int=5),
    b"\x00\xff",
    (1, "a", (2,)),
    {1},
    frozenset({"a"}),
    Color.RED,
    Level.HIGH,
    Name.ADA,
    Point(1, 2),
    Parcel(Decimal("0.5"), date(2030, 1, 1)),
    CHARGE,
    [CHARGE, (Color.RED, {"p": Parcel(Decimal("1"))})],
]


class Trial:
    """Runs a function as a step in two attempts, and keeps what each of them got."""

    def __init__(self, worchflow: Worchflow, app: Celery) -> None:
        self.worchflow, self.app = worchflow, app
        self.got: list[Any] = []
        self.runs = 0

    def run(self, fn: Callable[[], Any]) -> Any:
        def flow(event: Event[Any], step: Step) -> None:
            step.run("before", int)
            self.got.append(step.run("value", fn))
            if event.attempt == 1:
                raise ConnectionError

        handle = self.worchflow.flow("flow", retries=1, retry_delay=0)(flow).send()
        deliver(self.app)
        return handle.get()


@pytest.fixture
def trial(worchflow: Worchflow, celery_app: Celery) -> Trial:
    return Trial(worchflow, celery_app)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {value!r:.40}")
def test_a_value_comes_back_as_what_it_was_on_both_runs(trial: Trial, value: Any) -> None:
    trial.run(lambda: value)

    first, resumed = trial.got
    assert first == resumed == value
    assert type(first) is type(resumed) is type(value)
    assert repr(first) == repr(resumed) == repr(value)


def test_a_local_class_comes_back_by_the_return_annotation(trial: Trial) -> None:
    class Local(BaseModel):
        n: int

    def make() -> list[Local]:
        return [Local(n=1)]

    make.__annotations__["return"] = list[Local]

    trial.run(make)

    assert trial.got == [[Local(n=1)]] * 2


def test_the_first_run_too_gets_what_was_stored_and_not_the_object_itself(trial: Trial) -> None:
    original = {"list": [1]}

    trial.run(lambda: original)

    assert trial.got == [original, original]
    assert trial.got[0] is not original
    assert trial.got[0]["list"] is not original["list"]


class Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"rows": [1, Opaque()]}, ["rows[1]", "Opaque"]),
        ([float("nan")], ["[0]", "nan"]),
        ({"a": {"b": float("inf")}}, [".a.b", "inf"]),
        (Decimal("NaN"), ["NaN"]),
        (open, ["builtin"]),
        ("\ud800", ["surrogate"]),
    ],
)
def test_what_cannot_be_stored_is_final_and_names_step_path_and_type(
    trial: Trial, value: object, words: list[str]
) -> None:
    ran: list[int] = []

    execution = trial.run(lambda: ran.append(1) or value)
    trial.worchflow.retry(execution.id)
    deliver(trial.app)

    execution = trial.worchflow.get(execution.id)
    assert execution.status == ExecutionStatus.FAILED
    assert execution.error.type == "UnserializableResult"
    assert all(word in execution.error.message for word in ["'value'", *words])
    assert ran == [1]


def test_what_is_too_large_is_final_and_names_step_size_and_limit(
    trial: Trial,
) -> None:
    ran: list[int] = []

    execution = trial.run(lambda: ran.append(1) or "x" * (4 * 1024 * 1024))
    trial.worchflow.retry(execution.id)
    deliver(trial.app)

    execution = trial.worchflow.get(execution.id)
    assert execution.error.type == "PayloadTooLarge"
    assert all(word in execution.error.message for word in ["'value'", "4194306", "4194304"])
    assert ran == [1]


def test_a_value_that_is_refused_leaves_the_earlier_checkpoints(trial: Trial) -> None:
    execution = trial.run(Opaque)

    told = [(one.key, one.status) for one in trial.worchflow.steps(execution.id)]
    assert told == [("before", "completed"), ("value", "failed")]


def test_a_flow_may_catch_a_final_error_and_meets_it_again_when_resumed(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[int] = []

    @worchflow.flow("catches", retries=1, retry_delay=0)
    def catches(event: Event[Any], step: Step) -> str:
        try:
            step.run("opaque", lambda: ran.append(1) or Opaque())
        except ValueError as error:
            if event.attempt == 1:
                raise ConnectionError from error
            return type(error).__name__
        raise AssertionError

    handle = catches.send()
    deliver(celery_app)

    assert handle.result(1) == "UnserializableResult"
    assert ran == [1]
