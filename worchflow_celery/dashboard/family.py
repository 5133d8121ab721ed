"""What an execution came from and what came from it, as far as a page shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worchflow_celery.app import Worchflow
from worchflow_celery.children import stem_of
from worchflow_celery.models import Execution
from worchflow_celery.store.reading import Reading, Rows
from worchflow_celery.store.records import Checkpoint

#: Executions that a page shows, how far up and down, and those whose steps are looked at for more.
MOST, _UP, _DOWN, _BREADTH = 200, 5, 4, 50
#: Recorded runs of each that are looked at.
_MOST_RUNS = 200
_BEGIN = ("invoke", "send")


@dataclass(frozen=True, slots=True)
class Node:
    """One of the family: how deep it stands, from 0."""

    execution: Execution
    depth: int


@dataclass(frozen=True, slots=True)
class Family:
    """What an execution came from, and what came from it."""

    parent: Execution | None
    children: Rows
    #: All of them in the order of a tree, the execution itself among them.
    nodes: list[Node]
    #: Whether there may be more below.
    more: bool = False


def family_of(
    worchflow: Worchflow, execution: Execution, runs: Sequence[Checkpoint], down: int = _DOWN
) -> Family:
    """The ancestors, as far as they are there, and what steps have begun."""
    reading = worchflow.runtime.store.reading
    above = list(_ancestors(reading, execution))
    begun = [(execution.id, run.key, run.attempt) for run in runs if run.kind in _BEGIN]
    children = _begun(reading, begun)
    below = [row.execution for row in children.rows]
    level, more = below, False
    for _ in range(1, down):
        if not level or len(below) >= MOST:
            break
        more = more or len(level) > _BREADTH
        level = [row.execution for row in _begun(reading, _of_level(reading, level)).rows]
        below += level
    more = more or len(below) > MOST
    nodes = list(_in_order(above, execution, below[:MOST]))
    return Family(above[-1] if above else None, children, nodes, more)


def _ancestors(reading: Reading, execution: Execution) -> Iterable[Execution]:
    """The oldest first."""
    found: list[Execution] = []
    wanted = execution.parent_id
    while wanted and len(found) < _UP:
        rows = reading.by_id(wanted, 1).rows
        if not rows or rows[0].execution.id != wanted:
            break
        found.append(rows[0].execution)
        wanted = rows[0].execution.parent_id
    return reversed(found)


def _of_level(reading: Reading, level: Sequence[Execution]) -> list[tuple[str, str, int]]:
    """Which steps of some executions have begun others."""
    runs = reading.last_runs([one.id for one in level[:_BREADTH] if one.started_at], _MOST_RUNS)
    return [
        (owner, str(run["key"]), int(run.get("attempt", 1)))
        for owner, of_one in runs.items()
        for run in of_one
        if run.get("kind") in _BEGIN
    ]


def _begun(reading: Reading, steps: Iterable[tuple[str, str, int]]) -> Rows:
    stems = sorted({stem_of(owner, f"{key}:{attempt}") for owner, key, attempt in steps})[:100]
    return reading.children(stems, MOST) if stems else Rows([])


def _in_order(
    above: Sequence[Execution], execution: Execution, below: Iterable[Execution]
) -> Iterator[Node]:
    by_parent: dict[str | None, list[Execution]] = {}
    for one in sorted(below, key=lambda one: (one.created_at, one.id)):
        by_parent.setdefault(one.parent_id, []).append(one)
    yield from (Node(one, depth) for depth, one in enumerate(above))
    yield from _branch(by_parent, execution, len(above))


def _branch(
    by_parent: Mapping[str | None, Sequence[Execution]], execution: Execution, depth: int
) -> Iterator[Node]:
    yield Node(execution, depth)
    for child in by_parent.get(execution.id, ()):
        yield from _branch(by_parent, child, depth + 1)
