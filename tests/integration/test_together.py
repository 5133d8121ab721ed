"""Inserts of threads that meet: one command for them, and for each what became of its own."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from pymongo import MongoClient, monitoring
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, DuplicateKeyError

from tests.support import Bench, eventually
from worchflow_celery.store.together import MOST, Together

Document = dict[str, Any]


class Ended(BaseException):
    """What ends a thread in the middle of what it does."""


class Gate(monitoring.CommandListener):
    """Holds inserts back before they are sent, and counts their documents."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.sizes: list[int] = []
        #: The number of the command whose thread is ended instead.
        self.ends: int | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "insert":
            self.sizes.append(len(event.command["documents"]))
            number = len(self.sizes)
            self.open.wait(30)
            if number == self.ends:
                raise Ended

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def collection(bench: Bench, gate: Gate) -> Iterator["Collection[Document]"]:
    client: MongoClient[Document] = MongoClient(bench.database_url, event_listeners=[gate])
    with client:
        yield client.get_default_database("worchflow")[f"{bench.prefix}_together"]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(120) as pool:
        yield pool


def meet(
    together: Together,
    collection: "Collection[Document]",
    gate: Gate,
    threads: ThreadPoolExecutor,
    documents: list[Document],
) -> list["Future[None]"]:
    """Insert the first document; the others when its command is under way."""
    first, *others = documents
    futures = [threads.submit(together.insert, collection, first)]
    eventually(lambda: gate.sizes)
    futures += [threads.submit(together.insert, collection, other) for other in others]
    eventually(lambda: len(together) == len(others))
    return futures


def ids(collection: "Collection[Document]") -> list[Any]:
    return sorted(document["_id"] for document in collection.find())


def test_who_comes_while_a_command_is_under_way_shares_the_next_one(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    documents: list[Document] = [{"_id": number} for number in range(6)]
    futures = meet(Together(60), collection, gate, threads, documents)

    gate.open.set()

    assert [future.result(10) for future in futures] == [None] * 6
    assert gate.sizes == [1, 5]
    assert ids(collection) == list(range(6))


def test_each_hears_of_its_own_document_alone(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    documents: list[Document] = [{"_id": number} for number in (0, 1, 0, 2)]
    futures = meet(Together(60), collection, gate, threads, documents)

    gate.open.set()

    errors = [type(future.exception(10)) for future in futures]
    assert errors == [type(None), type(None), DuplicateKeyError, type(None)]
    assert ids(collection) == [0, 1, 2]


def test_one_that_cannot_be_encoded_spoils_no_other(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    documents: list[Document] = [{"_id": 0}, {"_id": 1}, {"_id": 2, "bad": object()}, {"_id": 3}]
    futures = meet(Together(60), collection, gate, threads, documents)

    gate.open.set()

    failed = [future.exception(10) is not None for future in futures]
    assert failed == [False, False, True, False]
    assert ids(collection) == [0, 1, 3]


def test_large_ones_and_very_many_are_several_commands(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    large: list[Document] = [{"_id": number, "result": "x" * 3_000_000} for number in range(3)]
    small: list[Document] = [{"_id": number, "result": ""} for number in range(3, 3 + MOST)]
    futures = meet(Together(60), collection, gate, threads, [*large, *small])

    gate.open.set()

    assert [future.result(10) for future in futures] == [None] * (3 + MOST)
    assert gate.sizes == [1, 1, MOST, 1]


def test_a_server_that_is_away_is_told_to_all(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    together = Together(60)
    nowhere: MongoClient[Document] = MongoClient(
        "mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50
    )
    futures = meet(together, collection, gate, threads, [{"_id": 0}])
    with nowhere:
        away = nowhere["worchflow"]["together"]
        others = [threads.submit(together.insert, away, {"_id": number}) for number in (1, 2)]
        eventually(lambda: len(together) == 2)

        gate.open.set()

        assert all(isinstance(one.exception(10), ConnectionFailure) for one in others)
    assert futures[0].result(10) is None


def test_who_runs_out_of_patience_sends_for_itself(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    together = Together(patience=0.05)
    futures = meet(together, collection, gate, threads, [{"_id": 0}])

    futures += [threads.submit(together.insert, collection, {"_id": number}) for number in (1, 2)]

    eventually(lambda: gate.sizes == [1, 1, 1])
    gate.open.set()
    assert [future.result(10) for future in futures] == [None] * 3
    assert ids(collection) == [0, 1, 2]


def test_a_sender_that_is_ended_in_the_middle_holds_nobody_up(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    gate.ends = 1
    futures = meet(
        Together(60), collection, gate, threads, [{"_id": number} for number in range(4)]
    )

    gate.open.set()

    assert type(futures[0].exception(10)) is Ended
    assert [future.result(10) for future in futures[1:]] == [None] * 3
    assert ids(collection) == [1, 2, 3]


def test_one_whose_sender_was_ended_sends_for_itself(
    collection: "Collection[Document]", gate: Gate, threads: ThreadPoolExecutor
) -> None:
    together = Together(60)
    futures = meet(together, collection, gate, threads, [{"_id": number} for number in range(3)])
    gate.ends = 2

    gate.open.set()

    ended = [type(future.exception(10)) for future in futures].count(Ended)
    assert ended == 1
    assert len(ids(collection)) == 2
