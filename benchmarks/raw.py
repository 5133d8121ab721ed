"""The floor: how many journaled majority inserts of a checkpoint's size MongoDB takes.

A program, so that it holds nothing but pymongo:
`python -m benchmarks.raw PLACE threads|prefork CONCURRENCY SECONDS` prints inserts per second.
"""

import multiprocessing
import queue
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol

from pymongo import MongoClient
from pymongo.collection import Collection

from benchmarks.place import Document, Place
from benchmarks.work import effect


class _Barrier(Protocol):
    def wait(self) -> object: ...


class _Queue(Protocol):
    def put(self, item: float, /) -> None: ...


def rate(place: Place, pool: str, concurrency: int, seconds: float) -> float:
    """Inserts per second of so many threads, or processes."""
    arguments = [place.text(), pool, str(concurrency), str(seconds)]
    program = [sys.executable, "-m", "benchmarks.raw", *arguments]
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def seconds_each(collection: "Collection[Document]", count: int) -> float:
    """Seconds that one insert takes, in this thread, on the mean of so many."""
    begin = time.perf_counter()
    for number in range(count):
        collection.insert_one(checkpoint(number))
    return (time.perf_counter() - begin) / count


def checkpoint(number: int) -> Document:
    """A document as large as the checkpoint of one small step."""
    return {
        "_id": f"{uuid.uuid4()} step#{number}",
        "key": f"step#{number}",
        "name": "step",
        "seq": number,
        "status": "completed",
        "result": str(effect(number)),
        "attempt": 1,
        "epoch": 1,
        "started_at": datetime.now(UTC),
        "finished_at": datetime.now(UTC),
        "kind": "run",
    }


def main(text: str, pool: str, concurrency: int, seconds: float) -> None:
    """Start them all, let them begin together, print the sum of their rates."""
    place = Place.read(text)
    run = _in_processes if pool == "prefork" else _in_threads
    print(sum(run(place, concurrency, seconds)))


def _in_processes(place: Place, concurrency: int, seconds: float) -> list[float]:
    context = multiprocessing.get_context("fork")
    rates, start = context.SimpleQueue(), context.Barrier(concurrency)
    # Each opens a client of its own, after the fork.
    arguments = (place, seconds, start, rates)
    runners = [context.Process(target=_insert, args=arguments) for _ in range(concurrency)]
    for runner in runners:
        runner.start()
    found = [rates.get() for _ in runners]
    for runner in runners:
        runner.join()
    return found


def _in_threads(place: Place, concurrency: int, seconds: float) -> list[float]:
    rates, start = queue.SimpleQueue[float](), threading.Barrier(concurrency)
    with place.client() as client:
        arguments = (_collection(place, client), seconds, start, rates)
        runners = [
            threading.Thread(target=_insert_into, args=arguments) for _ in range(concurrency)
        ]
        for runner in runners:
            runner.start()
        return [rates.get() for _ in runners]


def _insert(place: Place, seconds: float, start: _Barrier, rates: _Queue) -> None:
    with place.client() as client:
        _insert_into(_collection(place, client), seconds, start, rates)


def _insert_into(
    collection: "Collection[Document]", seconds: float, start: _Barrier, rates: _Queue
) -> None:
    for number in range(5):
        collection.insert_one(checkpoint(number))
    start.wait()
    count, begin = 0, time.perf_counter()
    while (taken := time.perf_counter() - begin) < seconds:
        collection.insert_one(checkpoint(count))
        count += 1
    rates.put(count / taken)


def _collection(place: Place, client: "MongoClient[Document]") -> "Collection[Document]":
    return place.database(client)[f"{place.name}_raw"]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
