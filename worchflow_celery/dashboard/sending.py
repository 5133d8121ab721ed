"""Start an execution by hand: a form of the event's own fields, or JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worchflow_celery.app import Worchflow
from worchflow_celery.dashboard import actions, forms
from worchflow_celery.dashboard.commands import Same, same
from worchflow_celery.dashboard.errors import Problem, body_of
from worchflow_celery.dashboard.forms import Field, Refusal
from worchflow_celery.dashboard.site import Site, access_of, site_of
from worchflow_celery.errors import (
    ExecutionConflict,
    InvalidEventData,
    InvalidOption,
    PayloadTooLarge,
)
from worchflow_celery.options import check_id

#: Executions whose data is offered to be sent again.
_RECENT = 5
_HIDDEN = "the data of that execution is not shown to you, so it cannot be copied"


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody is about to send."""

    flow: str = ""
    as_json: bool = False
    text: str = "{}"
    fields: tuple[Field, ...] = ()
    id: str = ""
    delay: str = ""
    #: The id of the execution, unless another one is given: the same form starts one.
    key: str = ""
    refusal: Refusal = field(default_factory=Refusal)


@dataclass(frozen=True, slots=True)
class Recent:
    """Data that was sent before."""

    id: str
    at: datetime
    data: Any


class Refused(Exception):
    """Data that does not fit."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def form(request: Request) -> Response:
    """Render the form of a flow, or the flows to choose from."""
    site, params = site_of(request), request.query_params
    _may_send(site, request)
    name = params.get("flow", "")
    if not name:
        return site.page(request, "send.html", _context(site, Draft()))
    data = _copied(site, request, params["like"]) if params.get("like") else None
    fields = _fields(site.worchflow, name, data)
    text = json.dumps(data, ensure_ascii=False, indent=2) if data is not None else "{}"
    if not fields and data is None:
        text = "null"
    as_json = params.get("as") == "json" or not fields
    draft = Draft(name, as_json, text, fields, key=f"form-{site.token()}")
    more = {"recent": _recent(site, request, name), "like": params.get("like", "")}
    return site.page(request, "send.html", {**_context(site, draft), **more})


async def send(request: Request) -> Response:
    """``POST /send``: validate, start, and go to the execution; or show what is wrong."""
    site, given = site_of(request), await actions.form_of(request)
    flat = {name: values[-1] for name, values in given.items()}
    return await run_in_threadpool(_send, site, request, flat)


def _send(site: Site, request: Request, given: Mapping[str, str]) -> Response:
    draft = _draft(site.worchflow, given)
    refusal, status = Refusal(), 422
    ways: list[Same] = []
    try:
        data = _checked(site.worchflow, draft, given)
        if given.get("show"):
            ways, status = _ways(site, request, draft, data), 200
            raise Refused(refusal)
        started = start(site.worchflow, draft, data)
        site.audit(access_of(request).user, "send", started)
        return RedirectResponse(request.scope.get("root_path", "") + actions.url_of(started), 303)
    except Refused as refused:
        refusal = refused.refusal
    except (InvalidEventData, PayloadTooLarge) as error:
        refusal = Refusal(rest=(str(error),))
    except InvalidOption as error:
        refusal = Refusal({"delay" if str(error).startswith("delay") else "id": str(error)})
    except ExecutionConflict as error:
        refusal, status = Refusal({"id": str(error)}), 409
    key = f"form-{site.token()}" if status == 409 else draft.key
    fields = forms.filled(draft.fields, given)
    shown = replace(draft, fields=fields, key=key, refusal=refusal)
    return site.page(request, "send.html", {**_context(site, shown), "ways": ways}, status)


def _ways(site: Site, request: Request, draft: Draft, data: Any) -> list[Same]:
    """How the same is sent without this form; raises ``InvalidOption``."""
    address = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"
    if draft.id:
        check_id(draft.id, "id")
    return same(
        draft.flow,
        data,
        key=draft.id,
        delay=_delay(draft.delay),
        app=site.app.main or "app",
        address=f"{address}/api/v1/executions",
    )


def _recent(site: Site, request: Request, flow: str) -> list[Recent]:
    """The last data that was sent to a flow, as far as it may be copied."""
    with site.reading() as worchflow:
        filters = {"flow": {"$eq": check_id(flow, "flow id")}}
        rows = worchflow.runtime.store.reading.rows(filters, limit=_RECENT).rows
    redactor = site.redactor(request)
    found = []
    for row in rows:
        one = row.execution
        shown = redactor.value(one.flow, one.data)
        if row.shows_data and shown is not None and shown == site.plain(one.data):
            found.append(Recent(one.id, one.created_at, shown))
    return found


def _draft(worchflow: Worchflow, given: Mapping[str, str]) -> Draft:
    flow = check_id(given.get("flow", ""), "flow id")
    fields = _fields(worchflow, flow, None)
    return Draft(
        flow=flow,
        as_json=given.get("as") == "json" or not fields,
        text=given.get("json", ""),
        fields=fields,
        id=given.get("id", "").strip(),
        delay=given.get("delay", "").strip(),
        key=given.get("key", ""),
    )


def _checked(worchflow: Worchflow, draft: Draft, given: Mapping[str, str]) -> Any:
    """The data of a filled form; raises ``Refused``."""
    try:
        data = body_of(draft.text.encode()) if draft.as_json else forms.data_of(draft.fields, given)
    except Problem as problem:
        raise Refused(Refusal({"json": problem.detail})) from None
    refusal = check(worchflow, draft.flow, data, draft.fields)
    if draft.as_json:  # the fields are not there to be marked
        placed = [f"{name.removeprefix('data.')}: {why}" for name, why in refusal.by_field.items()]
        refusal = Refusal(rest=(*placed, *refusal.rest))
    if refusal:
        raise Refused(refusal)
    return data


def start(worchflow: Worchflow, draft: Draft, data: Any) -> str:
    """Send, and return the execution's id."""
    execution_id = draft.id or draft.key or None
    return worchflow.send(draft.flow, data, id=execution_id, delay=_delay(draft.delay)).id


def check(worchflow: Worchflow, flow: str, data: Any, fields: tuple[Field, ...]) -> Refusal:
    """What the event's type says of some data."""
    known = worchflow.flows.get(flow)
    adapter = known.definition.event_type if known else None
    if adapter is None:
        return Refusal()
    try:
        adapter.validate_python(data)
    except ValidationError as error:
        return forms.refusal_of(error, fields)
    return Refusal()


def _delay(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidOption(f"delay is {text!r:.40}: it must be seconds") from None


def _context(site: Site, draft: Draft) -> dict[str, Any]:
    flows = sorted(site.worchflow.flows)
    return {
        "draft": draft,
        "flows": flows,
        "known": draft.flow in site.worchflow.flows,
        "recent": [],
        "like": "",
        "ways": [],
    }


def _fields(worchflow: Worchflow, flow: str, data: Any) -> tuple[Field, ...]:
    known = worchflow.flows.get(flow)
    return forms.fields_of(forms.schema_of(known.definition.event_type), data) if known else ()


def _copied(site: Site, request: Request, execution_id: str) -> Any:
    """The data of another execution, if it may be seen as it is."""
    with site.reading() as worchflow:
        found = worchflow.get(execution_id)
    shown = site.redactor(request).value(found.flow, found.data)
    if shown != site.plain(found.data):
        raise Problem(403, _HIDDEN)
    return shown


def _may_send(site: Site, request: Request) -> None:
    if site.options.read_only:
        raise Problem(403, "this dashboard is read-only")
    if not access_of(request).may("operator"):
        raise Problem(403, "to send needs the role operator")
