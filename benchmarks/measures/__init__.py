"""The measures by name."""

from collections.abc import Callable, Iterator

from benchmarks.measures import (
    latency,
    memory,
    processor,
    resume,
    schedule,
    sending,
    steps,
    throughput,
)
from benchmarks.rows import Row
from benchmarks.stage import Stage

Measure = Callable[[Stage], Iterator[Row]]

MEASURES: dict[str, Measure] = {
    "send": sending.measure,
    "throughput": throughput.measure,
    "processor": processor.measure,
    "latency": latency.measure,
    "resume": resume.measure,
    "steps": steps.measure,
    "schedule": schedule.measure,
    "memory": memory.measure,
}
