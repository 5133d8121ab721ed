"""`send`, `signal`: start executions, and tell them things."""

import json
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, BinaryIO

import click

from worchflow_celery.cli import codes, wording
from worchflow_celery.cli.changing import audit
from worchflow_celery.cli.group import Session, fail, with_session, worchflow
from worchflow_celery.cli.ids import resolve
from worchflow_celery.cli.options import Span, pair, scalar
from worchflow_celery.cli.output import as_json
from worchflow_celery.errors import ExecutionFailed, InvalidEventData
from worchflow_celery.flow import Flow
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.models import ExecutionStatus


@worchflow.command()
@click.argument("flow")
@click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--data", help="The data as JSON.")
@click.option("--json-file", type=click.File("rb"), help="The data as a JSON file; - is stdin.")
@click.option("--key", help="The execution's id: sent twice, it starts once.")
@click.option("--delay", type=Span(), help="Start it later: 90, 5m, 1h30m.")
@click.option("--queue", help="Another queue than the flow's.")
@click.option("--priority", type=int, help="Of the message.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the result.")
@click.option("--timeout", type=Span(), help="Wait no longer; implies --wait.")
@with_session
def send(
    session: Session,
    flow: str,
    pairs: Sequence[str],
    wait: bool,
    timeout: float | None,
    **given: Any,
) -> None:
    """Start an execution of a flow, whose model validates the data first.

    NAME=VALUE gives fields: a value that is JSON is taken as such, any other as text.
    """
    known = _flow(session, flow)
    candidates = _data(pairs, given.pop("data"), given.pop("json_file"))
    handle = _send(known, candidates, id=given.pop("key"), **given)
    audit(session, "send", handle.id)
    if wait or timeout is not None:
        _wait(session, handle, timeout)
    elif session.out.as_json:
        session.out.value({"id": handle.id, "flow": flow, "status": handle.status})
    else:
        session.out.line(handle.id)


@worchflow.command()
@click.argument("id")
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--data", help="The payload as JSON.")
@click.option("--json-file", type=click.File("rb"), help="The payload as a JSON file; - is stdin.")
@with_session
def signal(
    session: Session,
    id: str,
    name: str,
    pairs: Sequence[str],
    data: str | None,
    json_file: BinaryIO | None,
) -> None:
    """Send a signal to an execution, for its wait of this NAME."""
    payload = _data(pairs, data, json_file)[0]
    execution_id = resolve(session, id)
    session.worchflow.signal(execution_id, name, payload)
    audit(session, "signal", execution_id)
    if session.out.as_json:
        session.out.value({"id": execution_id, "signal": name})
    else:
        session.out.line(execution_id)


def _flow(session: Session, name: str) -> Flow[Any, Any]:
    flows = session.worchflow.flows
    if name not in flows:
        close = get_close_matches(name, flows, 3)
        hint = f": did you mean {' or '.join(close)}?" if close else ""
        fail(f"this app has no flow {name!r:.80}{hint}", codes.NOT_FOUND)
    return flows[name]


def _data(pairs: Sequence[str], data: str | None, file: BinaryIO | None) -> list[Any]:
    """What the words may mean, likeliest first: with values as JSON, or those that can as text."""
    if bool(pairs) + (data is not None) + (file is not None) > 1:
        fail("give the data once: as NAME=VALUE, --data or --json-file", codes.USAGE)
    if data is not None:
        return [_loaded(data, "--data")]
    if file is not None:
        return [_loaded(file.read(), "--json-file")]
    if not pairs:
        return [None]
    fields = dict(pair(one) for one in pairs)
    if len(fields) < len(pairs):
        fail("a field is given twice", codes.USAGE)
    read = {name: scalar(text) for name, text in fields.items()}
    nested = {n: v if isinstance(v, list | dict) else fields[n] for n, v in read.items()}
    return [read] if nested == read else [read, nested]


def _loaded(text: str | bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"{where} is no JSON: {error}", codes.USAGE)


def _send(flow: Flow[Any, Any], candidates: Sequence[Any], **options: Any) -> ExecutionHandle[Any]:
    refusal: InvalidEventData | None = None
    for data in candidates:
        try:
            return flow.send(data, **options)
        except InvalidEventData as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _wait(session: Session, handle: ExecutionHandle[Any], timeout: float | None) -> None:
    out = session.out
    if not out.as_json:
        out.note(handle.id)
    try:
        with suppress(ExecutionFailed):
            handle.result(timeout)
    except KeyboardInterrupt:
        out.note(f"execution {handle.id} goes on without being waited for")
        raise
    execution = session.get(handle.id)
    completed = execution.status is ExecutionStatus.COMPLETED
    if out.as_json:
        out.value(execution)
    elif completed:
        out.line(as_json(execution.result))
    if not completed:
        reason = wording.error(execution.error)
        fail(f"execution {handle.id} {execution.status}: {reason}", codes.FAILED)
