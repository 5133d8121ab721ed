"""The description of the API, out of the library's own models."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worchflow_celery.models import Attempt, Execution, Schedule, StepRecord, Window
from worchflow_celery.observed import (
    AuditRecord,
    Batch,
    FlowStats,
    LogLine,
    QueueInfo,
    Update,
    WorkerInfo,
)

_MODELS: list[type[BaseModel]] = [
    Execution,
    StepRecord,
    Attempt,
    Schedule,
    Window,
    WorkerInfo,
    AuditRecord,
    Update,
    LogLine,
    FlowStats,
    Batch,
    QueueInfo,
]
_REF = "#/components/schemas/{model}"
_PROBLEM = {
    "type": "object",
    "description": "An error, as RFC 9457 has it.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "current_status": {"type": "string", "description": "Of the execution, with 409."},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "With 422."},
    },
    "required": ["title", "status", "detail"],
}
_SENT = {
    "type": "object",
    "properties": {
        "flow": {"type": "string"},
        "data": {},
        "id": {"type": "string", "description": "An idempotency key."},
        "delay": {"type": "number", "description": "Seconds."},
    },
    "required": ["flow"],
}
_STARTED = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "status": {"type": "string"}},
}
_MANY = {
    "type": "object",
    "description": "With ids it is done at once (200); with a filter, by a batch (202).",
    "properties": {
        "action": {"enum": ["retry", "cancel", "restart"], "description": "restart: by ids only."},
        "ids": {"type": "array", "items": {"type": "string"}, "maxItems": 200},
        "filter": {
            "type": "object",
            "description": "The parameters of the list: status, flow, last, after, before, q.",
        },
        "expect_count": {
            "type": "integer",
            "description": "The most that may match, else 409 with count; required with a filter.",
        },
        "dry_run": {"type": "boolean", "description": "Only count."},
    },
    "required": ["action"],
}
_FILTERS = "status flow last after before q cursor limit".split()
_ANYTHING: dict[str, Any] = {"type": "object"}


def _in(name: str, where: str = "query", schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "schema": {"type": "string", **(schema or {})},
    }


_TIMES = [_in("since"), _in("until")]


def describe(server: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, models = models_json_schema([(one, "serialization") for one in _MODELS], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "worchflow", "version": "1"},
        "servers": [{"url": server}],
        "paths": _paths(),
        "components": {"schemas": {**models["$defs"], "Problem": _PROBLEM}},
    }


def _paths() -> dict[str, Any]:
    one, of_flow = [_in("id", "path")], [_in("flow", "path")]
    acted = _post("Act on an execution", [*one, _in("action", "path", _ACTIONS)], _STARTED)
    steered = _post("Steer a schedule", [*of_flow, _in("action", "path", _STEERING)], _ANYTHING)
    listed = _get("Executions, newest first", [_in(name) for name in _FILTERS], "Execution")
    sent = _post("Start an execution", [], _STARTED, _SENT)
    many = _post("Act on many executions", [], {"$ref": _REF.format(model="Batch")}, _MANY)
    return {
        "/executions": {"get": listed, "post": sent},
        **{path: {"get": described} for path, described in _read(one, of_flow).items()},
        "/executions:bulk": {"post": many},
        "/executions/{id}/{action}": {"post": acted},
        "/schedules/{flow}/{action}": {"post": steered},
    }


def _read(one: list[dict[str, Any]], of_flow: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "/executions/{id}": _get("One execution", one, "Execution", many=False),
        "/executions/{id}/steps": _get("Its steps", one, "StepRecord"),
        "/executions/{id}/attempts": _get("Its attempts", one, "Attempt"),
        "/executions/{id}/logs": _get("Its log", [*one, _in("after"), _in("limit")], "LogLine"),
        "/executions/{id}/tree": _get("Parent and children", one, None, many=False),
        "/batches/{id}": _get("How far a batch is", one, "Batch", many=False),
        "/flows": _get("The flows of the app", [], None, many=False),
        "/flows/{flow}": _get("One flow", of_flow, None, many=False),
        "/flows/{flow}/schema": _get("The schema of its data", of_flow, None, many=False),
        "/flows/{flow}/stats": _get("What ended", [*of_flow, *_TIMES], "FlowStats"),
        "/workers": _get("The workers of the last day", [], "WorkerInfo"),
        "/queues": _get("What waits in the broker", [], "QueueInfo"),
        "/audit": _get("What people did", [], "AuditRecord"),
        "/events": _get("Live updates, server-sent", [_in("execution")], None, many=False),
        "/schedules": _get("The schedules", [], "Schedule"),
        "/schedules/{flow}/windows": _get("Its windows", of_flow, "Window"),
    }


_ACTIONS = {"enum": ["retry", "cancel", "pause", "resume", "restart"]}
_STEERING = {"enum": ["pause", "resume", "trigger"]}


def _get(
    summary: str, parameters: list[dict[str, Any]], model: str | None, many: bool = True
) -> dict[str, Any]:
    item = {"$ref": _REF.format(model=model)} if model else _ANYTHING
    items = {"type": "array", "items": item}
    found = {
        "type": "object",
        "properties": {"items": items, "cursor": {"type": ["string", "null"]}},
    }
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": _answer(found if many else item), **_REFUSALS},
    }


def _post(
    summary: str,
    parameters: list[dict[str, Any]],
    answer: dict[str, Any],
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    key = _in("Idempotency-Key", "header")
    return {
        "summary": summary,
        "parameters": [*parameters, key],
        "requestBody": {"content": {"application/json": {"schema": body or _ANYTHING}}},
        "responses": {"202": _answer(answer), **_REFUSALS},
    }


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "As asked.", "content": {"application/json": {"schema": schema}}}


_REFUSALS = {
    "default": {
        "description": "A problem.",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
}
