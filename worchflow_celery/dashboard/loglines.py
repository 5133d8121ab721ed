"""What an execution has logged: filtered, and as a file."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.dashboard import format as texts
from worchflow_celery.dashboard.site import site_of
from worchflow_celery.errors import InvalidOption
from worchflow_celery.observed import LogLine
from worchflow_celery.redaction import Redactor

#: All that is kept of an execution.
MOST_LINES = 1000
_LEVELS = {name: rank for rank, name in enumerate("debug info warning error critical".split())}
_LONGEST = 200
_TOKEN = re.compile(r"(level|attempt|step):(\S+)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are shown."""

    text: str = ""
    #: This level or a worse one.
    level: str = ""
    attempt: int | None = None
    step: str = ""

    def fits(self, line: LogLine) -> bool:
        """Whether a line, as it may be seen, is one of them."""
        if self.level and _LEVELS.get(line.level.lower(), 0) < _LEVELS[self.level]:
            return False
        if self.attempt is not None and line.attempt != self.attempt:
            return False
        if self.step and self.step not in (line.step or "").lower():
            return False
        return not self.text or self.text in _searched(line)


def wanted(q: str) -> Wanted:
    """Read ``level:error attempt:2 text``; raises ``InvalidOption``."""
    if len(q) > _LONGEST:
        raise InvalidOption(f"log has {len(q)} characters; {_LONGEST} is the most")
    found = dict(_TOKEN.findall(q))
    level, attempt = found.get("level", "").lower(), found.get("attempt")
    if level and level not in _LEVELS:
        raise InvalidOption(f"level is {level!r:.40}: it must be one of {', '.join(_LEVELS)}")
    if attempt is not None and not re.fullmatch(r"[0-9]{1,6}", attempt):
        raise InvalidOption(f"attempt is {attempt!r:.40}: it must be a whole number")
    text = " ".join(_TOKEN.sub("", q).split()).lower()
    return Wanted(
        text, level, None if attempt is None else int(attempt), found.get("step", "").lower()
    )


def file(request: Request) -> Response:
    """``GET /logs?id=…``: the log of an execution as a text file."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = worchflow.get(request.query_params.get("id", ""))
        lines = worchflow.logs(found.id, limit=MOST_LINES)
    redactor, which = site.redactor(request), wanted(request.query_params.get("log", ""))
    text = "".join(_written(one) for one in shown(redactor, found.flow, lines) if which.fits(one))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", found.id)[:100]
    headers = {
        "content-disposition": f'attachment; filename="{name}.log"',
        "cache-control": "no-store",
    }
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


def shown(redactor: Redactor, flow: str, lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """Lines that may be seen."""
    for line in lines:
        message, fields = redactor.text(flow, line.message), redactor.value(flow, line.fields)
        yield line.model_copy(update={"message": message, "fields": fields})


def _searched(line: LogLine) -> str:
    return f"{line.message} {_fields(line)} {line.step or ''}".lower()


def _fields(line: LogLine) -> str:
    return json.dumps(line.fields, ensure_ascii=False) if line.fields else ""


def _written(line: LogLine) -> str:
    parts = [texts.stamp(line.at) + "Z", line.level, f"attempt={line.attempt}"]
    parts += [f"step={line.step!r}"] if line.step else []
    parts += [texts.clean(line.message).replace("\n", "\\n"), texts.clean(_fields(line))]
    return " ".join(filter(None, parts)) + "\n"
