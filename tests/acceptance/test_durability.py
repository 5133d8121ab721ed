"""Executions survive the end of whatever runs them."""

import signal
from pathlib import Path

import pytest

from tests.acceptance.shop import build
from tests.support import Bench, eventually, workers

MODULE = "tests.acceptance.shop"


def place(bench: Bench, tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "TEST_REDIS_URL": bench.redis_url,
        "TEST_DATABASE_URL": bench.database_url,
        "TEST_PREFIX": bench.prefix,
        "TEST_DIRECTORY": str(tmp_path),
        **more,
    }


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_killed_worker_s_execution_goes_on_in_another_one(
    bench: Bench, tmp_path: Path, pool: str
) -> None:
    _, worchflow, diary = build(place(bench, tmp_path))
    with workers(bench, tmp_path, MODULE) as start:
        first = start("-P", pool, "-c", "2").ready()
        handle = worchflow.flows["steps"].send({"count": 4, "hold": 2})
        eventually(lambda: f"begin {handle.id} 2" in diary.lines())
        start("-P", pool, "-c", "2").ready()

        first.kill()
        (tmp_path / "go").touch()

        assert handle.result(timeout=8 + 3) == 4
    counts = diary.counts()
    assert [counts[f"begin {handle.id} {n}"] for n in range(4)] == [1, 1, 2, 1]
    assert handle.get().crashes == 1
    worchflow.close()


def test_a_killed_pool_process_s_execution_goes_on_within_six_seconds(
    bench: Bench, tmp_path: Path
) -> None:
    _, worchflow, diary = build(place(bench, tmp_path, TEST_LEASE="60"))
    with workers(bench, tmp_path, MODULE, TEST_LEASE="60") as start:
        worker = start("-c", "1").ready()
        handle = worchflow.flows["steps"].send({"count": 3, "hold": 1})
        eventually(lambda: f"begin {handle.id} 1" in diary.lines())
        (child,) = worker.children()

        (tmp_path / "go").touch()
        import os

        os.kill(child, signal.SIGKILL)

        assert handle.result(timeout=6) == 3
    worchflow.close()
