"""The benchmarks run, and say how much ours costs beside the same by hand."""

import os
import re
import subprocess
import sys

import pytest

from tests.support import ROOT
from worchflow_celery.servers import Servers
from worchflow_celery.servers.binaries import MONGOD, REDIS, VARIABLES

#: A line of a table that compares ours with the same by hand: its last two cells.
RATIO = re.compile(r"\s\d+\.\d\d\b.*\d+\.\d\d-\d+\.\d\d$", re.MULTILINE)


LATENESS = re.compile(r"^1 schedule, stored, p50 +[\d.]+$", re.MULTILINE)


def quick_run(running_servers: Servers, measure: str) -> str:
    """What a short run of one measure prints."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--seconds", "0.2"]
    urls = {
        VARIABLES[REDIS]: running_servers.redis_url,
        VARIABLES[MONGOD]: running_servers.database_url,
    }
    run = subprocess.run(
        [*command, "--only", measure],
        cwd=ROOT,
        env={**os.environ, **urls},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("measure", ["send", "resume"])
def test_a_quick_run_of_one_measure_prints_ratios(running_servers: Servers, measure: str) -> None:
    printed = quick_run(running_servers, measure)

    assert "ours/hand" in printed
    assert RATIO.search(printed), printed


def test_a_quick_run_of_schedules_prints_how_late_windows_are(running_servers: Servers) -> None:
    printed = quick_run(running_servers, "schedule")

    assert LATENESS.search(printed), printed
