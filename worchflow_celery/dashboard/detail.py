"""The page of one execution: what happened when, what went in and came out, what may be done."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worchflow_celery import codec
from worchflow_celery.app import Worchflow
from worchflow_celery.children import stem_of
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import lists
from worchflow_celery.dashboard.site import site_of
from worchflow_celery.dashboard.waterfall import waterfall
from worchflow_celery.models import ErrorInfo, Execution
from worchflow_celery.observed import LogLine
from worchflow_celery.redaction import Redactor
from worchflow_celery.store.reading import Rows
from worchflow_celery.store.records import Checkpoint, shown

#: Recorded runs of steps, and children, that a page shows.
MOST_RUNS, MOST_CHILDREN = 500, 200
#: Of what it has logged.
MOST_LINES = 500


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


@dataclass(frozen=True, slots=True)
class Family:
    """What an execution came from, and what came from it."""

    parent: Execution | None
    children: Rows


def execution(request: Request) -> Response:
    """Render an execution; raises ``ExecutionNotFound``."""
    site = site_of(request)
    execution_id = str(request.path_params.get("id", ""))
    with site.reading() as worchflow:
        found = worchflow.get(execution_id)
        runs = worchflow.runtime.store.reading.runs(found.id, MOST_RUNS + 1)
        family = family_of(worchflow, found, runs)
        lines = worchflow.logs(found.id, limit=MOST_LINES)
    redactor, running = site.redactor(request), site.hub.running(found.id)
    context = {
        "lines": [redacted(redactor, found.flow, one) for one in lines],
        "lines_left": len(lines) == MOST_LINES,
        "one": redactor.execution(found),
        "runs_left": len(runs) > MOST_RUNS,
        "fall": waterfall(found, runs[:MOST_RUNS], utcnow(), running.key if running else None),
        "steps": _steps(found, runs[:MOST_RUNS], redactor),
        "family": family,
        "actions": legal(found),
        "took": lists.took,
        "retries": _retries(worchflow, found),
    }
    live = "off" if found.status.finished else found.id
    return site.page(request, "execution.html", {**context, "live": live})


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


def family_of(worchflow: Worchflow, execution: Execution, runs: list[Checkpoint]) -> Family:
    """The parent, if it is still there, and the children that steps have begun."""
    reading = worchflow.runtime.store.reading
    parent = None
    if execution.parent_id:
        above = reading.by_id(execution.parent_id, 1).rows
        parent = (
            above[0].execution if above and above[0].execution.id == execution.parent_id else None
        )
    begun = {(run.key, run.attempt) for run in runs if run.kind in ("invoke", "send")}
    stems = [stem_of(execution.id, f"{key}:{attempt}") for key, attempt in sorted(begun)][:100]
    return Family(parent, reading.children(stems, MOST_CHILDREN) if stems else Rows([]))


def redacted(redactor: Redactor, flow: str, line: LogLine) -> LogLine:
    """A line of the log that may be shown."""
    message = redactor.text(flow, line.message)
    return line.model_copy(update={"message": message, "fields": redactor.value(flow, line.fields)})


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
