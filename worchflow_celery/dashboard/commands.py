"""What sends the same execution without the form: a command, a call, a request.  Pure."""

import json
import shlex
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Same:
    """One way to send it."""

    name: str
    text: str


def same(
    flow: str, data: Any, *, key: str, delay: float | None, app: str, address: str
) -> list[Same]:
    """The ways, each to be pasted as it is."""
    return [
        Same("Command", _command(flow, data, key, delay, app)),
        Same("Python", _call(flow, data, key, delay)),
        Same("curl", _request(flow, data, key, delay, address)),
    ]


def _command(flow: str, data: Any, key: str, delay: float | None, app: str) -> str:
    words = ["celery", "-A", app, "worchflow", "send", flow]
    words += [] if data is None else ["--data", json.dumps(data, ensure_ascii=False)]
    words += ["--key", key] if key else []
    words += ["--delay", _number(delay)] if delay else []
    return shlex.join(words)


def _call(flow: str, data: Any, key: str, delay: float | None) -> str:
    given = [repr(flow), repr(data)]
    given += [f"id={key!r}"] if key else []
    given += [f"delay={_number(delay)}"] if delay else []
    return f"worchflow.send({', '.join(given)})"


def _request(flow: str, data: Any, key: str, delay: float | None, address: str) -> str:
    body: dict[str, Any] = {"flow": flow, "data": data}
    body |= {"id": key} if key else {}
    body |= {"delay": delay} if delay else {}
    words = ["curl", "-X", "POST", address, "-H", "content-type: application/json", "-d"]
    return shlex.join([*words, json.dumps(body, ensure_ascii=False)])


def _number(seconds: float | None) -> str:
    return f"{seconds:g}" if seconds is not None else ""
