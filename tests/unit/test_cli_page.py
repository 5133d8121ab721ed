"""The page on the command line names every command, every option and every exit code."""

import re
from collections.abc import Iterator

import click
import pytest

from tests.support import ROOT
from worchflow_celery.cli import codes, worchflow

PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


COMMANDS = list(commands(worchflow))
OPTIONS = {
    name
    for command in COMMANDS
    for parameter in command.params
    if isinstance(parameter, click.Option)
    for name in parameter.opts
}
CODES = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)}


@pytest.mark.parametrize("name", sorted({str(command.name) for command in COMMANDS}))
def test_every_command_is_in_the_page(name: str) -> None:
    assert re.search(rf"`(?:\w+`, `)?{name}\b", PAGE)


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_every_option_is_in_the_page(option: str) -> None:
    assert f"`{option}" in PAGE


def test_every_exit_code_is_in_the_page() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}

    assert listed == CODES


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_command_says_what_it_does(command: click.Command) -> None:
    assert (command.help or "").strip().endswith(".")
