"""Executions that wait are called: by signals, by the ends of their children."""

from collections.abc import Mapping
from typing import Any

from worchflow_celery import dispatch, options
from worchflow_celery.definition import encode_signal
from worchflow_celery.errors import InvalidTransition
from worchflow_celery.runtime import Runtime


def signal(runtime: Runtime, execution_id: str, name: str, data: object) -> None:
    """Keep a signal for an execution, and call it."""
    options.check_step_name(name, "signal")
    limit = runtime.settings.max_payload_bytes
    text = encode_signal(name, data, limit)
    status, flow = runtime.store.executions.status(execution_id)
    if status.finished:
        raise InvalidTransition(
            f"execution {execution_id!r} is {status}: no signal reaches it any more"
        )
    if flow in runtime.definitions:
        runtime.definitions[flow].check_signal(name, text)
    runtime.store.signals.insert(execution_id, name, text)
    call(runtime, execution_id, signal_of(name))


def tell_parent(runtime: Runtime, parent: Mapping[str, Any] | None, status: str) -> None:
    """A child has ended: its parent is called for the last one, or for one without a result."""
    if not parent or not parent.get("waits"):
        return
    key = parent["key"]
    if status != "completed" or runtime.store.children.are_finished(parent["id"], key):
        call(runtime, parent["id"], children_of(key))


def signal_of(name: str) -> str:
    """What an execution waits for that waits for a signal."""
    return f"signal:{name}"


def children_of(key: str) -> str:
    """What an execution waits for that waits for the children of a step."""
    return f"children:{key}"


def call(runtime: Runtime, execution_id: str, what: str) -> None:
    """Call an execution back that waits for ``what``; nobody may be waiting."""
    due = runtime.store.calls.call(execution_id, what)
    if due is not None:
        dispatch.republish(runtime, due)
