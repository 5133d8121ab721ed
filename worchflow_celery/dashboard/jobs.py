"""Jobs over all executions that a filter finds, done in the background by this process."""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from starlette.datastructures import QueryParams

from worchflow_celery import bulk
from worchflow_celery.app import Worchflow
from worchflow_celery.dashboard import queries
from worchflow_celery.dashboard.queries import Query
from worchflow_celery.errors import InvalidOption, StoreUnavailable
from worchflow_celery.models import ExecutionStatus
from worchflow_celery.observed import Batch
from worchflow_celery.redaction import HIDDEN, Redactor, nothing
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.bulk import NOT_CANCELLED
from worchflow_celery.store.reading import searched

T = TypeVar("T")
logger = logging.getLogger(__name__)

#: Executions that one batch changes at most, and those that it takes at a time.
MOST, _CHUNK = 100_000, 200
#: Seconds after which a store that was away is asked again.
_AGAIN = 2.0

ACTIONS: Mapping[str, tuple[Sequence[ExecutionStatus], Callable[[Runtime, Sequence[str]], int]]] = {
    "retry": (bulk.RETRIABLE, bulk.retry_some),
    "cancel": (bulk.CANCELLABLE, bulk.cancel_some),
}


class Runner:
    """Runs the batches of this process, one after the other, in a thread while there are any."""

    def __init__(self, worchflow: Callable[[], Worchflow], audit: Callable[..., None]) -> None:
        self._worchflow = worchflow
        self._audit = audit
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._thread: threading.Thread | None = None

    def run(self, batch_id: str) -> None:
        """Run a batch that waits, when its turn comes."""
        with self._lock:
            self._waiting.append(batch_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (batch_id := self._next()) is not None:
            try:
                self._run(batch_id)
            except Exception as error:  # the next one is to have its turn
                logger.exception("The batch %s is stopped", batch_id)
                self._give_up(batch_id, error)

    def _next(self) -> str | None:
        with self._lock:
            if not self._waiting:
                self._thread = None
                return None
            return self._waiting.popleft()

    def _give_up(self, batch_id: str, error: Exception) -> None:
        try:
            note = f"{type(error).__name__}: see the dashboard's log"
            self._worchflow().runtime.store.batches.stop(batch_id, note)
        except Exception:
            logger.exception("The batch %s cannot be stopped", batch_id)

    def _run(self, batch_id: str) -> None:
        worchflow, owner = self._worchflow(), secrets.token_hex(8)
        batch = _patiently(lambda: worchflow.runtime.store.batches.take(batch_id, owner))
        if batch is None:
            return
        filters = filters_of(batch.action, query_from(worchflow, batch.filter))
        while batch is not None and batch.status == "running":
            batch = _step(worchflow, batch, owner, filters)
        if batch is not None:
            done = f"{batch.changed} changed, {batch.skipped} skipped, {batch.status}"
            words = words_of(query_from(worchflow, batch.filter), Redactor(nothing))
            self._audit(
                batch.who, f"{batch.action}-all ended", words, batch.changed, note_of(batch, done)
            )


def _step(
    worchflow: Worchflow, batch: Batch, owner: str, filters: Mapping[str, Any]
) -> Batch | None:
    """Take the next executions; each is looked at again when it is changed."""
    store, act = worchflow.runtime.store, ACTIONS[batch.action][1]
    left = batch.total - batch.done
    ids, cursor = _patiently(
        lambda: store.bulk.batch(filters, batch.cursor, max(1, min(_CHUNK, left)))
    )
    ids = ids[:left]
    changed = _patiently(lambda: act(worchflow.runtime, ids)) if ids else 0
    skipped = len(ids) - changed
    more = cursor if len(ids) < left else None
    return _patiently(
        lambda: store.batches.advance(
            batch.id, owner, changed=changed, skipped=skipped, cursor=more
        )
    )


def _patiently(do: Callable[[], T]) -> T:
    """Try until the store is there; what was done before it went away counts as skipped then."""
    again = threading.Event()
    while True:
        try:
            return do()
        except StoreUnavailable as error:
            logger.warning("A batch waits: %s", error)
            again.wait(_AGAIN)


def filters_of(action: str, query: Query) -> Mapping[str, Any]:
    """The executions that are meant; raises ``InvalidOption``."""
    if query.id:
        raise InvalidOption(
            f"q is {query.q!r:.80}: many executions are chosen by status, flow, time or a field, "
            "not by an id"
        )
    found = bulk.selected(
        f"{action}_all",
        ACTIONS[action][0],
        status=list(query.status) or None,
        flow=query.flow or None,
        search=dict([query.search]) if query.search else None,
        after=query.since,
        before=query.before,
    )
    found = {**found, **(searched(*query.search) if query.search else {})}
    return {**found, **(NOT_CANCELLED if action == "cancel" else {})}


def count(worchflow: Worchflow, action: str, query: Query) -> int:
    """How many are meant; one more than ``MOST`` stands for more."""
    return worchflow.runtime.store.bulk.count(filters_of(action, query), MOST + 1)


def query_from(worchflow: Worchflow, text: str) -> Query:
    """The filter of a stored batch."""
    return queries.read(QueryParams(text.removeprefix("?")), searchable(worchflow))


def searchable(worchflow: Worchflow) -> set[str]:
    """The fields that flows declare for searching."""
    flows = worchflow.flows.values()
    return {name for flow in flows for name in flow.definition.options.search}


def words_of(query: Query, redactor: Redactor) -> str:
    """The filter in words, without what must not be seen."""
    return shown_query(query, redactor).words()


def shown_query(query: Query, redactor: Redactor) -> Query:
    """The filter, without what must not be seen."""
    if query.search is None:
        return query
    field, value = query.search
    shown = redactor.value(query.flow, {field: value})
    seen = shown.get(field) if isinstance(shown, dict) else HIDDEN
    return query if seen == value else replace(query, q="", search=(field, HIDDEN))


def note_of(batch: Batch, text: str) -> str:
    """What the audit trail says of a batch."""
    return f"batch {batch.id}: {text}"
