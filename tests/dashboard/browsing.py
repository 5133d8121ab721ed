"""A dashboard in a process of its own, a worker beside it, and a browser before it."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support import ROOT, Bench, eventually

SERVE = (
    "from tests.dashboard.stall import app\n"
    "from worchflow_celery.dashboard import run\n"
    "run(app, port={port}, root_path={root_path!r})\n"
)


def chromium() -> str:
    """The browser; fails with the way to get it where it is not installed."""
    found = os.environ.get("WORCHFLOW_CHROMIUM") or shutil.which("chromium")
    found = found or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail(
            "the browser tests need Chromium: apt-get install chromium, or name one in "
            "WORCHFLOW_CHROMIUM"
        )
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser."""
    path = chromium()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


def environment(bench: Bench) -> dict[str, str]:
    """What the stall needs to know."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TEST_REDIS_URL": bench.redis_url,
        "TEST_DATABASE_URL": bench.database_url,
        "TEST_PREFIX": bench.prefix,
    }


@contextmanager
def dashboard(
    bench: Bench, log: Path, root_path: str = ""
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A served dashboard: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE.format(port=port, root_path=root_path)]
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(bench), cwd=ROOT, stdout=output, stderr=output
        )
        try:
            eventually(lambda: _answers(f"{address}/healthz"), within=20, what=log.read_text())
            yield address, process
        finally:
            process.kill()
            process.wait(10)


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.TransportError:
        return False
