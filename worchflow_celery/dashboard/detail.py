"""The page of one execution: what happened when, what went in and came out, what may be done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worchflow_celery import codec
from worchflow_celery.app import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import lists, loglines, traces
from worchflow_celery.dashboard.family import family_of
from worchflow_celery.dashboard.site import Site, site_of
from worchflow_celery.dashboard.waterfall import waterfall
from worchflow_celery.models import ErrorInfo, Execution
from worchflow_celery.redaction import Redactor
from worchflow_celery.store.records import Checkpoint, shown

#: Recorded runs of steps that a page shows, steps that it did not reach, deeds of people.
MOST_RUNS, _MOST_UNREACHED, _MOST_DEEDS = 500, 50, 50


@dataclass(frozen=True, slots=True)
class Step:
    """One step with what it returned, as it may be seen."""

    key: str
    kind: str
    status: str
    attempt: int
    result: Any
    error: ErrorInfo | None
    failures: int


def execution(request: Request) -> Response:
    """Render an execution; raises ``ExecutionNotFound``."""
    site = site_of(request)
    execution_id = str(request.path_params.get("id", ""))
    with site.reading() as worchflow:
        found = worchflow.get(execution_id)
        runs = worchflow.runtime.store.reading.runs(found.id, MOST_RUNS + 1)
        family = family_of(worchflow, found, runs)
        unreached = _unreached(worchflow, found, runs)
        deeds = worchflow.audit.list(target=found.id, limit=_MOST_DEEDS)
    context = {
        **_log(site, request, found),
        **_ran(site, request, found, runs),
        "one": site.redactor(request).execution(found),
        "unreached": unreached,
        "family": family,
        "deeds": deeds,
        "trace": traces.parts,
        "actions": legal(found),
        "took": lists.took,
        "retries": _retries(worchflow, found),
    }
    live = "off" if found.status.finished else found.id
    return site.page(request, "execution.html", {**context, "live": live})


def _ran(site: Site, request: Request, found: Execution, runs: list[Checkpoint]) -> dict[str, Any]:
    """Its steps, in their time and one by one."""
    some, running = runs[:MOST_RUNS], site.hub.running(found.id)
    steps = _steps(found, some, site.redactor(request))
    failed = [one.key for one in steps if one.status == "failed"]
    return {
        "runs_left": len(runs) > MOST_RUNS,
        "fall": waterfall(found, some, utcnow(), running.key if running else None),
        "steps": steps,
        "failed_step": failed[-1] if failed and found.status == "failed" else None,
    }


def _log(site: Site, request: Request, found: Execution) -> dict[str, Any]:
    """The lines of its log that are asked for."""
    text = request.query_params.get("log", "")
    which = loglines.wanted(text)
    with site.reading() as worchflow:
        lines = worchflow.logs(found.id, limit=loglines.MOST_LINES)
    seen = list(loglines.shown(site.redactor(request), found.flow, lines))
    return {"log": text, "logged": len(seen), "lines": [one for one in seen if which.fits(one)]}


def by_query(request: Request) -> Response:
    """The same for an id that a path would bend, or the way to its page."""
    execution_id = request.query_params.get("id", "")
    if not execution_id:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
    request.scope["path_params"] = {"id": execution_id}
    return execution(request)


def legal(execution: Execution) -> list[str]:
    """What may be done with an execution as it is now."""
    finished, paused = execution.status.finished, execution.paused
    may = {
        "retry": execution.status in ("failed", "cancelled"),
        "restart": finished,
        "cancel": not finished,
        "pause": not finished and not paused,
        "resume": not finished and paused,
    }
    return [name for name, allowed in may.items() if allowed]


def _unreached(worchflow: Worchflow, execution: Execution, runs: Sequence[Checkpoint]) -> list[str]:
    """Steps that the last completed execution of the flow had, and this one has not yet."""
    if execution.status == "completed" or not execution.started_at:
        return []
    reading = worchflow.runtime.store.reading
    last = reading.last_completed(execution.flow)
    if last is None:
        return []
    known = {run.key for run in runs}
    found = sorted(reading.runs(last, _MOST_UNREACHED), key=lambda run: run.started_at)
    keys = dict.fromkeys(run.key for run in found if run.phase is None)
    return [key for key in keys if key not in known][:_MOST_UNREACHED]


def _steps(execution: Execution, runs: list[Checkpoint], redactor: Redactor) -> list[Step]:
    by_key: dict[str, list[Checkpoint]] = {}
    for run in runs:
        by_key.setdefault(run.key, []).append(run)
    return [_step(execution, key, of_step, redactor) for key, of_step in by_key.items()]


def _step(execution: Execution, key: str, runs: list[Checkpoint], redactor: Redactor) -> Step:
    last = max(
        runs, key=lambda run: (run.status == "completed", run.attempt, run.status != "waiting")
    )
    error = ErrorInfo.model_validate(last.error) if last.error else None
    return Step(
        key=key,
        kind=last.kind,
        status=last.status,
        attempt=last.attempt,
        result=redactor.value(execution.flow, _result(last)),
        error=redactor.error(execution.flow, error),
        failures=sum(run.status == "failed" for run in runs),
    )


def _result(run: Checkpoint) -> Any:
    if run.status != "completed":
        return None
    try:
        return shown(run.result)
    except codec.UndecodableValue as error:
        return f"[cannot be read: {error}]"


def _retries(worchflow: Worchflow, execution: Execution) -> int | None:
    flow = worchflow.flows.get(execution.flow)
    return flow.definition.options.retries if flow else None
