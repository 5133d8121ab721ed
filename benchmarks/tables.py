"""Rows as compact tables for people."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from benchmarks.rows import Row, medians, ratio

#: Columns in their order; a table shows those that it has values for.
_CONTESTANTS = ("floor", "insert", "nothing", "hand", "ours")
#: What ours is divided by.
_RATIOS = ("hand", "floor", "insert")


def printed(rows: Sequence[Row]) -> str:
    """A table for each measure and unit."""
    groups = groupby(rows, key=lambda row: (row.measure, row.unit))
    return "\n\n".join(_table(f"{name}, {unit}", list(group)) for (name, unit), group in groups)


def _table(title: str, rows: list[Row]) -> str:
    contestants = [name for name in _CONTESTANTS if any(name in row.series for row in rows)]
    others = [name for name in _RATIOS if name in contestants]
    head = [title, *contestants, *(f"ours/{name}" for name in others)]
    if "hand" in others:
        head.append("(rounds)")
    lines = [head, *(_cells(row, contestants, others) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _cells(row: Row, contestants: Iterable[str], others: Sequence[str]) -> list[str]:
    values = medians(row.series)
    cells = [row.case, *(_number(values.get(name)) for name in contestants)]
    ratios = {name: ratio(row.series, name) for name in others}
    cells += [f"{found.median:.2f}" if found else "" for found in ratios.values()]
    if "hand" in ratios:
        found = ratios["hand"]
        cells.append(f"{found.least:.2f}-{found.most:.2f}" if found else "")
    return cells


def _line(cells: list[str], widths: list[int]) -> str:
    first, *rest = (
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
