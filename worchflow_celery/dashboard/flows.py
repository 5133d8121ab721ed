"""The pages of flows: what each is, and how its last executions went."""

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import format as texts
from worchflow_celery.dashboard.charts import columns, together
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.site import Site, site_of
from worchflow_celery.errors import InvalidOption
from worchflow_celery.models import FINISHED, ErrorInfo
from worchflow_celery.redaction import Redactor
from worchflow_celery.store.reading import Reading, Sample

#: Executions from which a flow's figures are taken, those whose steps count, and those listed.
_SAMPLED, _STEPS_OF, _LISTED = 1000, 50, 20
_MOST_FLOWS = 200
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
    count: int
    newest: Sample


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What the runs of one step have in common."""

    name: str
    runs: int
    failed: str
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
    with site.reading() as worchflow:
        reading = worchflow.runtime.store.reading
        samples = reading.samples(name, _SAMPLED)
        known = worchflow.flows.get(name)
        if known is None and not samples:
            raise Problem(404, f"no flow and no execution has the name {name!r:.100}")
        steps = step_figures(reading, samples)
        window = request.query_params.get("window", "1h")
        if window not in WINDOWS:
            raise InvalidOption(f"window is {window!r:.60}: it must be one of {', '.join(WINDOWS)}")
        stats = worchflow.stats(name, since=utcnow() - WINDOWS[window][1])
    context = {
        "window": window,
        "windows": WINDOWS,
        "stats": stats[0] if stats else None,
        "name": name,
        "about": about(site, name),
        "known": known.definition.options if known else None,
        "figures": figures(samples),
        "columns": columns(together(stats), lambda at, until: sent(name, at, until)),
        "errors": grouped(samples, name, site.redactor(request)),
        "steps": steps,
        "latest": samples[:_LISTED],
        "sampled": len(samples),
        "live": "parts",
    }
    return site.page(request, "flow.html", context)


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


def grouped(samples: Sequence[Sample], flow: str, redactor: Redactor) -> list[Grouped]:
    """The errors of the executions by type and message, the most frequent first."""
    kinds: dict[tuple[str, str], list[Sample]] = {}
    for one in samples:
        if one.error and one.status in ("failed", "retrying"):
            key = (str(one.error.get("type")), str(one.error.get("message", ""))[:200])
            kinds.setdefault(key, []).append(one)
    ranked = sorted(kinds.items(), key=lambda item: -len(item[1]))[:20]
    return [
        Grouped(kind, redactor.text(flow, message) or "", len(found), found[0])
        for (kind, message), found in ranked
    ]


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
        name, len(runs), failed, texts.quantile(known, 0.5), texts.quantile(known, 0.95)
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
