"""``python -m benchmarks``: measure, print ratios, keep all values as JSON."""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.facts import facts
from benchmarks.feed import Feeders
from benchmarks.measures import MEASURES
from benchmarks.plan import Plan
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.tables import printed
from benchmarks.workers import end_on_signal
from worchflow_celery import servers

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for."""
    asked = _parser().parse_args(arguments)
    plan = Plan(asked.rounds or 3, asked.seconds or 5.0, every_cell=asked.every_cell)
    if asked.quick:
        plan = Plan(asked.rounds or 1, asked.seconds or 1.0, quick=True)
    end_on_signal()
    found = _measured(plan, asked.only or list(MEASURES))
    print(f"\nAll values: {_kept(plan, *found)}")


def _measured(plan: Plan, names: Sequence[str]) -> tuple[dict[str, str], list[Row]]:
    """Measure, and print each table as soon as it is full."""
    rows: list[Row] = []
    with ExitStack() as stack:
        running = stack.enter_context(servers.start())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        feeders = stack.enter_context(Feeders())
        machine = facts(running)
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
        print(f"medians of {plan.rounds} rounds of {plan.seconds:g} s, interleaved", flush=True)
        for name in names:
            begin = time.monotonic()
            some = list(MEASURES[name](Stage(running, feeders, plan, directory)))
            print(f"\n{printed(some)}\n({time.monotonic() - begin:.0f} s)", flush=True)
            rows += some
    return machine, rows


def _kept(plan: Plan, machine: dict[str, str], rows: Sequence[Row]) -> Path:
    moment = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{moment:%Y%m%dT%H%M%SZ}.json"
    values = {"at": moment.isoformat(), "facts": machine, "plan": asdict(plan)}
    path.write_text(json.dumps({**values, "rows": [asdict(row) for row in rows]}, indent=1))
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: short, few cells")
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="one measure; may be repeated"
    )
    parser.add_argument("--every-cell", action="store_true", help="nothing is left out")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=float, help="seconds of a round (5)")
    return parser


if __name__ == "__main__":
    main()
