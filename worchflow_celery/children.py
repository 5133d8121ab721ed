"""Steps that start other executions, each exactly once, and wait for their results."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from worchflow_celery import calling, cancelling, codec, dispatch
from worchflow_celery.definition import encode_plain
from worchflow_celery.errors import ChildFailed, InvalidOption, PayloadTooLarge, StepTimeout
from worchflow_celery.journal import Journal
from worchflow_celery.models import ErrorInfo
from worchflow_celery.options import check_id, shown
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.children import Child
from worchflow_celery.waits import Wait

#: Generations of executions, so that a flow that invokes itself comes to an end.
DEEPEST = 100


def invoke(journal: Journal, name: str, flow: Any, data: Any, seconds: float | None) -> Any:
    """The result of one child."""
    family = _Family(journal, name, "invoke", flow, seconds)
    text = family.results([data], lambda texts: texts[0])
    return codec.decode(text, annotation=family.returns)


def invoke_all(
    journal: Journal, name: str, flow: Any, items: Sequence[Any], seconds: float | None
) -> list[Any]:
    """The results of a child for each item."""
    family = _Family(journal, name, "invoke", flow, seconds)
    text = family.results(items, lambda texts: f"[{','.join(texts)}]")
    each: Any = family.returns
    found: list[Any] = codec.decode(text, annotation=None if each is None else list[each])
    return found


def send(journal: Journal, name: str, flow: Any, data: Any) -> str:
    """The id of a child that nobody waits for."""
    return _Family(journal, name, "send", flow, None).started(data)


class _Family:
    """The children of one step; their ids follow from it, so none is started twice."""

    def __init__(
        self, journal: Journal, name: str, kind: str, flow: Any, seconds: float | None
    ) -> None:
        self._journal = journal
        self._runtime: Runtime = journal.runtime
        self._flow = flow_id(flow, name)
        self._seconds = seconds
        self._wait = Wait(journal, name, kind)

    def started(self, data: Any) -> str:
        """Start one, unless that is done."""
        with self._wait as wait:
            recorded = wait.recorded()
            if recorded is None:
                wait.start()
                child = self._ids(1)[0]
                self._send({child: data}, waits=False)
                recorded = wait.complete(codec.encode(child), child)
        found: str = codec.decode(recorded.result or "null")
        return found

    def results(self, items: Sequence[Any], joined: Callable[[list[str]], str]) -> str:
        """Start one for each item, wait for all of them, and record their joined results."""
        try:
            recorded = self._wait.recorded()
        except ChildFailed as failure:
            raise self._detailed(failure) from None
        with self._wait:
            return (recorded.result if recorded else self._awaited(items, joined)) or "null"

    def _awaited(self, items: Sequence[Any], joined: Callable[[list[str]], str]) -> str | None:
        wait = self._wait
        while True:
            wait.start()
            end = wait.until(self._seconds)
            ids = self._ids(len(items))
            children = self._looked_after(dict(zip(ids, items, strict=True)))
            over = end is not None and not wait.left(end)
            # Whoever gave them up may have died when it had cancelled them.
            lost = ("failed",) if over else ("failed", "cancelled")
            failed = [one for one in children if one.status in lost]
            if failed and wait.is_of_earlier_attempt:
                wait.fail(_failure(failed[0]), failed[0].id, told=False)
                continue  # this attempt has children of its own
            if failed:
                raise wait.fail(_failure(failed[0]), failed[0].id)
            if all(one.status == "completed" for one in children):
                return self._recorded(joined([one.result or "null" for one in children]))
            if over:
                raise self._given_up()
            wait.park(end, calling.children_of(self._group))

    def _looked_after(self, items: dict[str, Any]) -> list[Child]:
        """The children as they are; those that do not exist yet are started."""
        found: dict[str, Child] = {}
        if not self._wait.is_new:
            found = self._runtime.store.children.read(list(items))
        missing = {child: data for child, data in items.items() if child not in found}
        if missing:
            self._send(missing, waits=True)
            if self._journal.eager:
                self._run_here(missing)
                found |= self._runtime.store.children.read(list(missing))
        return [found.get(child) or Child(child, "queued", None, None) for child in items]

    def _send(self, items: dict[str, Any], *, waits: bool) -> None:
        depth = self._journal.claim.depth + 1
        if depth > DEEPEST:
            raise ChildFailed(
                f"step {self._wait.name!r} of execution {self._journal.execution_id!r} would be "
                f"generation {depth} of executions that start one another; the limit is {DEEPEST}"
            )
        parent = {"id": self._journal.execution_id, "key": self._group, "waits": waits}
        requests = [self._request(child, data, parent, depth) for child, data in items.items()]
        dispatch.send_many(self._runtime, requests, publish=not self._journal.eager)

    def _request(
        self, child: str, data: Any, parent: dict[str, Any], depth: int
    ) -> dispatch.Request:
        limit = self._runtime.settings.max_payload_bytes
        known = self._runtime.definitions.get(self._flow)
        own = known.options if known else None
        if own and own.search:
            self._runtime.store.database.ensure_search(own.search)
        return dispatch.Request(
            flow=self._flow,
            data=known.encode(data, limit) if known else encode_plain(self._flow, data, limit),
            queue=dispatch.queue_of(self._runtime.app, self._flow, own.queue if own else None),
            id=child,
            priority=own.priority if own else None,
            trigger="child",
            ref=self._journal.execution_id,
            parent=parent,
            depth=depth,
        )

    def _run_here(self, ids: dict[str, Any]) -> None:
        """An eager execution's children are eager, too."""
        flow: Any = self._runtime.app.tasks.get(self._flow)
        for child in ids if flow is not None else ():
            flow.run_here(child)

    def _ids(self, count: int) -> list[str]:
        stem = stem_of(self._journal.execution_id, self._group)
        return [f"{stem}.{number}" for number in range(count)] if count != 1 else [stem]

    @property
    def _group(self) -> str:
        """The step and its run: another run has children of its own."""
        return f"{self._wait.key}:{self._wait.attempt}"

    def _given_up(self) -> Exception:
        cancelling.cancel_children(self._runtime, self._journal.execution_id, self._group)
        return self._wait.fail(
            StepTimeout(
                f"step {self._wait.name!r} waited longer than its timeout of "
                f"{self._seconds:g} s for executions of {self._flow!r}"
            )
        )

    def _recorded(self, text: str) -> str | None:
        limit, size = self._runtime.settings.max_payload_bytes, len(text.encode())
        if size > limit:
            raise self._wait.fail(
                PayloadTooLarge(
                    f"the results of step {self._wait.name!r} have {size} bytes; the limit is "
                    f"{limit} (worchflow_max_payload_bytes): return references"
                )
            )
        return self._wait.complete(text).result

    @property
    def returns(self) -> Any:
        """What the flow says that it returns."""
        known = self._runtime.definitions.get(self._flow)
        return known.returns if known else None

    def _detailed(self, failure: ChildFailed) -> ChildFailed:
        """A failure that was recorded, with the child's own error."""
        child = failure.execution_id
        found = self._runtime.store.children.read([child]) if child else {}
        return _failure(found[child]) if child in found else failure


def stem_of(execution_id: str, group: str) -> str:
    """The id of the child of one run of a step, or what the ids of its children begin with.

    ``group`` is the step's key, a colon, and the number of the run.
    """
    identity = f"{execution_id} {group}"
    return "child:" + hashlib.sha256(identity.encode()).hexdigest()[:32]


def flow_id(flow: Any, step: str) -> str:
    """The id of a flow that is given as itself or by its id."""
    known = flow.name if hasattr(flow, "definition") else flow
    if not isinstance(known, str):
        raise InvalidOption(f"the flow of step {step!r} is {shown(flow)}: give a flow or its id")
    return check_id(known, f"the flow of step {step!r}")


def _failure(child: Child) -> ChildFailed:
    info = ErrorInfo.model_validate(child.error) if child.error else None
    reason = f"{info.type}: {info.message}" if info else "no error was stored"
    failure = ChildFailed(f"child {child.id!r} {child.status}: {reason}")
    failure.execution_id, failure.error = child.id, info
    return failure
