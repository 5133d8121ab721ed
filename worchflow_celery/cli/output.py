"""Where a command's answer goes: a table for people, tabs for pipes, JSON for programs."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click
from pydantic_core import to_jsonable_python

from worchflow_celery.cli.text import cut, padded, safe, width

T = TypeVar("T")

_GAP = "  "
_LEAST = 6


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a list."""

    heading: str
    #: As a person reads it.
    shown: Callable[[T], str]
    #: In full, as a pipe gets it.
    full: Callable[[T], object] | None = None
    colour: Callable[[T], str | None] | None = None
    right: bool = False
    #: Shown in full as long as there is anything else to cut.
    rigid: bool = False


class Output:
    """The answer of one command.  Everything that is stored is hostile until it is printed."""

    def __init__(self, *, as_json: bool, colour: bool) -> None:
        self.as_json = as_json
        self.tty = sys.stdout.isatty()
        self._colour = colour and self.tty

    @property
    def columns(self) -> int:
        """How wide the terminal is."""
        return shutil.get_terminal_size((100, 40)).columns

    def paint(self, text: str, colour: str | None = None, **style: Any) -> str:
        """A text in a colour, where colours are wanted."""
        return click.style(text, fg=colour, **style) if self._colour else text

    def line(self, text: str = "") -> None:
        """One line of the answer, whose parts are safe."""
        click.echo(text, color=self._colour)

    def note(self, text: str) -> None:
        """A line beside the answer, for people."""
        click.echo(safe(text), err=True)

    def value(self, value: Any) -> None:
        """One JSON object."""
        click.echo(as_json(value))

    def list(self, rows: Iterable[T], columns: Sequence[Column[T]], *, empty: str) -> None:
        """Rows: a table on a terminal, tab-separated lines in a pipe, or JSON Lines."""
        if self.as_json:
            for row in rows:
                self.value(row)
        elif self.tty:
            self._table(list(rows), columns, empty)
        else:
            for row in rows:
                cells = [safe((column.full or column.shown)(row)) for column in columns]
                self.line("\t".join(cells))

    def _table(self, rows: Sequence[T], columns: Sequence[Column[T]], empty: str) -> None:
        if not rows:
            self.note(empty)
            return
        cells = [[safe(column.shown(row)) for column in columns] for row in rows]
        headings = [column.heading for column in columns]
        widths = [max(map(width, every)) for every in zip(headings, *cells, strict=True)]
        fitted = fit(widths, self.columns, [column.rigid for column in columns])
        self.line(self.paint(_row(headings, columns, fitted), bold=True))
        for row, texts in zip(rows, cells, strict=True):
            colours = [column.colour(row) if column.colour else None for column in columns]
            self.line(_row(texts, columns, fitted, [self._painter(one) for one in colours]))

    def _painter(self, colour: str | None) -> Callable[[str], str]:
        return lambda text: self.paint(text, colour) if colour else text


def as_json(value: Any) -> str:
    """A value as JSON on one line, in ASCII: no terminal finds anything to obey in it."""
    plain = to_jsonable_python(value, bytes_mode="base64", fallback=repr, serialize_unknown=True)
    return json.dumps(plain, ensure_ascii=True).replace("\x7f", "\\u007f")


def fit(widths: Sequence[int], available: int, rigid: Sequence[bool] = ()) -> list[int]:
    """Column widths that fit a terminal: the widest give way first, rigid ones last."""
    fitted = list(widths)
    room = available - len(_GAP) * (len(widths) - 1)
    every = range(len(fitted))
    soft = [number for number in every if not (rigid and rigid[number])]
    for giving in filter(None, (soft, every)):
        while sum(fitted) > room:
            widest = max(giving, key=lambda number: fitted[number])
            if fitted[widest] <= _LEAST:
                break
            fitted[widest] -= 1
    return fitted


def _row(
    texts: Sequence[str],
    columns: Sequence[Column[Any]],
    widths: Sequence[int],
    painters: Sequence[Callable[[str], str]] | None = None,
) -> str:
    parts = []
    for number, (text, column, most) in enumerate(zip(texts, columns, widths, strict=True)):
        part = padded(cut(text, most), most, right=column.right)
        parts.append(painters[number](part) if painters else part)
    return _GAP.join(parts).rstrip()
