"""A recorded error is raised again as what it was, by its class and with its text."""

import json
import subprocess
from concurrent.futures import BrokenExecutor
from ssl import SSLError

import pytest

from worchflow_celery.errors import WorchflowError
from worchflow_celery.outcome import describe, name_of, revived


class Demanding(ConnectionError):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text"),
        ConnectionError("text"),
        FileNotFoundError(2, "No such file", "a.txt"),
        SSLError("text"),
        Demanding("db", 1),
        BrokenExecutor("text"),
        json.JSONDecodeError("text", "{", 0),
        subprocess.TimeoutExpired("sleep", 5),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "text"),
        StopIteration("text"),
    ],
)
def test_an_error_is_revived_as_what_it_was(error: Exception) -> None:
    stored = describe(error)

    again = revived(stored, name_of(error))

    assert type(again) is type(error)
    assert again.args == (stored["message"],)


@pytest.mark.parametrize(
    "name",
    ["gone:Gone", "builtins:print", "builtins:SystemExit", "builtins:ExceptionGroup", ""],
)
def test_an_error_whose_class_cannot_be_had_is_told_by_its_name(name: str) -> None:
    again = revived({"type": "Gone", "message": "text"}, name)

    assert type(again) is WorchflowError
    assert str(again) == "Gone: text"
