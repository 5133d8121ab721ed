"""The pages of flows: what each is, and how its last executions went."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.app import Worchflow
from worchflow_celery.dashboard import format as texts
from worchflow_celery.dashboard.charts import columns, together
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.site import Site, site_of
from worchflow_celery.errors import InvalidOption
from worchflow_celery.models import FINISHED, ErrorInfo
from worchflow_celery.redaction import Redactor
from worchflow_celery.store.lookups import Failure
from worchflow_celery.store.reading import Reading, Sample
from worchflow_celery.store.rollups import MINUTE

#: Executions from which a flow's figures are taken, those whose steps count, and those listed.
_SAMPLED, _STEPS_OF, _LISTED = 1000, 50, 20
_MOST_FLOWS = 200
#: Failures that are looked at for the errors of a flow, kinds that are listed, spans of time.
_MOST_FAILURES, _MOST_ERRORS = 2000, 20
_SPANS = {
    "last hour": timedelta(hours=1),
    "24 hours": timedelta(hours=24),
    "7 days": timedelta(days=7),
}
#: Of the figures.
WINDOWS = {
    "1h": ("hour", timedelta(hours=1)),
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
}


@dataclass(frozen=True, slots=True)
class Card:
    """A flow in the list."""

    id: str
    about: str
    cron: str | None
    last: list[Sample]


@dataclass(frozen=True, slots=True)
class Grouped:
    """One kind of error."""

    type: str
    message: str
    #: How many were sent since each of the times in ``_SPANS``.
    counts: dict[str, int]
    newest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What the runs of one step have in common."""

    name: str
    runs: int
    failed: str
    #: Runs after the first one of their step.
    again: int
    p50: float | None
    p95: float | None


def flows(request: Request) -> Response:
    """Render the list."""
    site = site_of(request)
    with site.reading() as worchflow:
        reading, cards = worchflow.runtime.store.reading, []
        for name in sorted(worchflow.flows)[:_MOST_FLOWS]:
            options = worchflow.flows[name].definition.options
            last = reading.samples(name, _LISTED)
            cards.append(Card(name, about(site, name).partition("\n")[0], options.cron, last))
    left = max(0, len(site.worchflow.flows) - _MOST_FLOWS)
    context = {"cards": cards, "left": left, "flows": site.worchflow.flows, "live": "parts"}
    return site.page(request, "flows.html", context)


def flow(request: Request) -> Response:
    """Render one flow, also one that only other processes know."""
    site, name = site_of(request), str(request.path_params["flow"])
    window = request.query_params.get("window", "1h")
    if window not in WINDOWS:
        raise InvalidOption(f"window is {window!r:.60}: it must be one of {', '.join(WINDOWS)}")
    with site.reading() as worchflow:
        reading = worchflow.runtime.store.reading
        samples = reading.samples(name, _SAMPLED)
        known = worchflow.flows.get(name)
        if known is None and not samples:
            raise Problem(404, f"no flow and no execution has the name {name!r:.100}")
        now = worchflow.runtime.store.database.now()
        until = now.replace(second=0, microsecond=0) + MINUTE
        stats = worchflow.stats(name, since=until - WINDOWS[window][1], until=until)
        context = {
            **errors(worchflow, name, now, site.redactor(request)),
            "able": sum(name in one.flows for one in worchflow.workers()),
            "steps": step_figures(reading, samples),
            "window": window,
            "windows": WINDOWS,
            "stats": stats[0] if stats else None,
            "name": name,
            "about": about(site, name),
            "known": known.definition.options if known else None,
            "columns": columns(together(stats), lambda at, until: sent(name, at, until)),
        }
    return site.page(request, "flow.html", {**context, **_of_samples(samples), "live": "parts"})


def _of_samples(samples: Sequence[Sample]) -> dict[str, Any]:
    return {"figures": figures(samples), "latest": samples[:_LISTED], "sampled": len(samples)}


def sent(flow: str, after: datetime, before: datetime, **more: str) -> str:
    """The query string of a list of what was sent of a flow in some time."""
    times = {"after": after.isoformat(), "before": before.isoformat()}
    return "?" + urlencode({"flow": flow, **more, **times})


def about(site: Site, name: str) -> str:
    """What a flow says of itself."""
    known = site.worchflow.flows.get(name)
    return inspect.getdoc(known.definition.function) or "" if known else ""


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """How the last executions went, together."""
    ran = [_seconds(one.started_at, one.finished_at) for one in samples if one.finished_at]
    waited = [_seconds(one.created_at, one.started_at) for one in samples if one.started_at]
    durations, queued = (
        [one for one in ran if one is not None],
        [one for one in waited if one is not None],
    )
    finished = [one for one in samples if one.status in FINISHED]
    return {
        "finished": len(finished),
        "failed": sum(one.status == "failed" for one in finished),
        "unfinished": len(samples) - len(finished),
        "retried": sum(one.attempt > 1 for one in samples),
        "p50": texts.quantile(durations, 0.5),
        "p95": texts.quantile(durations, 0.95),
        "queue": texts.quantile(queued, 0.5),
        "since": samples[-1].created_at if samples else None,
    }


def errors(worchflow: Worchflow, flow: str, now: datetime, redactor: Redactor) -> dict[str, Any]:
    """The errors of failed executions, the most frequent first, and links to what failed."""
    since = {name: now - length for name, length in _SPANS.items()}
    found = worchflow.runtime.store.lookups.failed(flow, min(since.values()), _MOST_FAILURES)
    kinds: dict[tuple[str, str], list[Failure]] = {}
    for one in found:
        kinds.setdefault((one.type, one.message), []).append(one)
    ranked = sorted(kinds.items(), key=lambda item: -len(item[1]))[:_MOST_ERRORS]
    links = {
        name: "?" + urlencode({"status": "failed", "flow": flow, "after": moment.isoformat()})
        for name, moment in since.items()
    }
    return {
        "errors": [
            _grouped(kind, redactor.text(flow, message) or "", ones, since)
            for (kind, message), ones in ranked
        ],
        "spans": links,
        "most_failures": _MOST_FAILURES if len(found) == _MOST_FAILURES else 0,
    }


def _grouped(
    kind: str, message: str, ones: Sequence[Failure], since: Mapping[str, datetime]
) -> Grouped:
    counts = {name: sum(one.at >= moment for one in ones) for name, moment in since.items()}
    return Grouped(kind, message, counts, newest=ones[0].id, at=ones[0].at)


def step_figures(reading: Reading, samples: Sequence[Sample]) -> list[StepFigures]:
    """What became of the steps of the last executions."""
    ids = [one.id for one in samples if one.started_at][:_STEPS_OF]
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in reading.step_samples(ids, 5000):
        if run.get("status") in ("completed", "failed"):
            runs.setdefault(str(run.get("name")), []).append(run)
    return [_step_figures(name, found) for name, found in list(runs.items())[:50]]


def error_of(sample: Sample) -> ErrorInfo | None:
    """Type and message of an error."""
    return ErrorInfo.model_validate({"message": "", **sample.error}) if sample.error else None


def _step_figures(name: str, runs: list[dict[str, Any]]) -> StepFigures:
    times = [_seconds(run.get("started_at"), run.get("finished_at")) for run in runs]
    known = [one for one in times if one is not None]
    states = Counter(run["status"] for run in runs)
    failed = texts.percent(states["failed"], len(runs))
    return StepFigures(
        name=name,
        runs=len(runs),
        failed=failed,
        again=sum(int(run.get("attempt", 1)) > 1 for run in runs),
        p50=texts.quantile(known, 0.5),
        p95=texts.quantile(known, 0.95),
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
