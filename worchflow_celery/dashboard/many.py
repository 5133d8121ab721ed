"""Many executions at once, by the API."""

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.dashboard import actions, batches, jobs, queries
from worchflow_celery.dashboard.bodies import answer, body_of, known
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.queries import Query
from worchflow_celery.dashboard.site import Site, site_of
from worchflow_celery.observed import Batch

_FILTERS = ("status", "flow", "last", "after", "before", "q")


async def act(request: Request) -> Response:
    """``POST executions:bulk``: ``{"action", "ids" | "filter", "expect_count", "dry_run"}``."""
    site, body = site_of(request), await body_of(request)
    known(body, {"action", "ids", "filter", "expect_count", "dry_run"})
    if ("ids" in body) == ("filter" in body):
        raise Problem(400, "either ids or filter says which executions are meant")
    if not isinstance(body.get("dry_run", False), bool):
        raise Problem(400, "dry_run must be true or false")
    if "ids" in body:
        return await run_in_threadpool(_by_ids, site, request, body)
    return await run_in_threadpool(_by_filter, site, request, body)


def batch(request: Request) -> Response:
    """``GET batches/{id}``."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = batches.get(worchflow, request.path_params["id"])
    return answer(_told(batches.shown(site, request, found)))


def _by_ids(site: Site, request: Request, body: Mapping[str, Any]) -> Response:
    """Now, each with its reason when it refused."""
    action, ids = str(body.get("action")), body["ids"]
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise Problem(400, "ids must be a list of texts")
    ids = list(dict.fromkeys(ids))
    _check_count(body, len(ids), required=False)
    if body.get("dry_run"):
        actions.check_selected(action, ids)
        return answer({"dry_run": True, "count": len(ids)})
    key = request.headers.get("idempotency-key", "")
    done, refused = actions.each(site, request, action, ids, key)
    skipped = [{"id": one, "detail": why} for one, why in refused]
    return answer({"changed": len(done), "skipped": len(skipped), "ids": done, "refused": skipped})


def _by_filter(site: Site, request: Request, body: Mapping[str, Any]) -> Response:
    """In the background."""
    batches.check_admin(site, request)
    action = str(body.get("action"))
    if action not in jobs.ACTIONS:
        known_ones = ", ".join(jobs.ACTIONS)
        raise Problem(400, f"action is {action!r:.60}: by a filter it must be one of {known_ones}")
    with site.reading() as worchflow:
        query = batches.fixed(worchflow, action, _query(body["filter"], jobs.searchable(worchflow)))
        count = min(jobs.count(worchflow, action, query), jobs.MOST)
    if body.get("dry_run"):
        return answer({"dry_run": True, "count": count})
    _check_count(body, count, required=True)
    key = (request.headers.get("idempotency-key", ""), "bulk", action)
    begun = site.once(key, lambda: batches.begin(site, request, action, query, count).id)
    where = f"{request.scope.get('root_path', '')}/api/v1/batches/{begun}"
    told = _told(batches.shown(site, request, batches.get(site.worchflow, begun)))
    return answer(told, 202, {"location": where})


def _check_count(body: Mapping[str, Any], count: int, *, required: bool) -> None:
    """Refuse to change more than whoever asks has counted."""
    expected = body.get("expect_count")
    if expected is None and not required:
        return
    if not isinstance(expected, int) or isinstance(expected, bool) or expected < 0:
        raise Problem(
            400, "expect_count must be the number that may be changed: ask with dry_run first"
        )
    if count > expected:
        raise Problem(409, f"{count} executions match, {expected} were expected", count=count)


def _query(given: Any, searchable: set[str]) -> Query:
    """A filter, with the names and values of the list of executions."""
    if not isinstance(given, dict):
        raise Problem(400, "filter must be an object")
    known(given, set(_FILTERS))
    pairs: list[tuple[str, str]] = []
    for name, value in given.items():
        many = value if name == "status" and isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in many):
            raise Problem(400, f"filter.{name} must be a text")
        pairs += [(name, one) for one in many]
    return queries.read(QueryParams(pairs), searchable)


def _told(batch: Batch) -> dict[str, Any]:
    return {**batch.model_dump(mode="json", exclude={"cursor"}), "done": batch.done}
