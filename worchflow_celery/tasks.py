"""Existing Celery tasks as steps: a task, a group, a chain or a chord of them."""

import hashlib
from collections.abc import Mapping
from typing import Any

from celery import chord, group
from celery.canvas import Signature, _chain
from kombu.exceptions import EncodeError

from worchflow_celery import answers, calling, codec
from worchflow_celery.errors import InvalidEventData, InvalidOption, StepTimeout, TaskFailed
from worchflow_celery.journal import Journal
from worchflow_celery.models import ErrorInfo
from worchflow_celery.options import shown
from worchflow_celery.publisher import express_queue
from worchflow_celery.store.signals import Received
from worchflow_celery.waits import Wait


def apply(journal: Journal, name: str, signature: Any, retries: int, seconds: float | None) -> Any:
    """The result of a signature; of a group, the list of its members' results."""
    with Wait(journal, name, "apply") as wait:
        recorded = wait.recorded()
        if recorded is None:
            members = list(_members(signature, name))
            text = _Calls(wait, members, isinstance(signature, group)).answered(retries, seconds)
        else:
            text = recorded.result or "null"
    return codec.decode(text)


class _Calls:
    """The tasks of one step, and their answers."""

    def __init__(self, wait: Wait, members: list[Signature], is_group: bool) -> None:
        self._wait = wait
        self._journal = wait.journal
        self._members = members
        self._is_group = is_group

    def answered(self, retries: int, seconds: float | None) -> str:
        """Wait for the answers; record and return the result, encoded."""
        while True:
            found = self._run(seconds, last=self._wait.failures >= retries)
            if found is not None:
                return found

    def _run(self, seconds: float | None, *, last: bool) -> str | None:
        """The result of one run; ``None``: it has failed, and another one follows."""
        wait = self._wait
        wait.start()
        end = wait.until(seconds)
        if wait.is_new or wait.was_interrupted:
            self._send()
        names = [answers.signal_of(self._token, number) for number in range(len(self._members))]
        while True:
            got = self._got(names)
            failed = next((one for one in got.values() if one.error is not None), None)
            if failed is not None:
                error = TaskFailed.of(ErrorInfo(**(failed.error or {})))
                self._failed(error, failed.error, last)
                return None
            if len(got) == len(names):
                texts = [got[name].data for name in names]
                text = f"[{','.join(texts)}]" if self._is_group else texts[0]
                return wait.complete(text).result or "null"
            if end is not None and not wait.left(end):
                self._failed(_too_long(wait, seconds), None, last)
                return None
            wait.park(end, *map(calling.signal_of, names))

    def _failed(self, error: Exception, cause: Mapping[str, str] | None, last: bool) -> None:
        self._wait.fail(error, told=last, cause=cause)
        if last:
            raise error

    def _got(self, names: list[str]) -> dict[str, Received]:
        """The first answer of each task: a callback may come twice."""
        found: dict[str, Received] = {}
        for one in self._journal.runtime.store.signals.all(self._journal.execution_id, names):
            found.setdefault(one.name, one)
        return found

    def _send(self) -> None:
        runtime = self._journal.runtime
        for number, member in enumerate(self._members):
            to = {"execution_id": self._journal.execution_id}
            to["name"] = answers.signal_of(self._token, number)
            if self._journal.eager:
                answers.run_here(runtime, member, **to)
                continue
            queue = express_queue(self._journal.claim.queue)
            task = member.clone()
            task.link(Signature(answers.ANSWER, kwargs=to, app=runtime.app, queue=queue))
            # A chord gives the failures of its header to the errbacks of its body.
            body = task.body if isinstance(task, chord) else task
            body.link_error(Signature(answers.REFUSE, kwargs=to, app=runtime.app, queue=queue))
            try:
                task.apply_async(task_id=self._task_id(number))
            except (EncodeError, TypeError, ValueError) as error:
                raise InvalidEventData(
                    f"step {self._wait.name!r}: its tasks cannot be sent: {error}"
                ) from error

    def _task_id(self, number: int) -> str:
        """Sent again after a crash, it is the same task."""
        identity = f"{self._journal.execution_id} {self._token}:{number}"
        return "task:" + hashlib.sha256(identity.encode()).hexdigest()[:32]

    @property
    def _token(self) -> str:
        return f"{self._wait.key}:{self._wait.attempt}"


def _members(signature: Any, step: str) -> list[Signature]:
    """What is sent by itself: the tasks of a group each, anything else whole."""
    if not isinstance(signature, Signature):
        raise InvalidOption(
            f"step {step!r} is given {shown(signature)}: it needs a signature of Celery, "
            "like task.s(argument)"
        )
    if not isinstance(signature, group):
        return [_single(signature, step)]
    return [_single(member, step) for member in signature.tasks]


def _single(signature: Signature, step: str) -> Signature:
    if isinstance(signature, _chain) and not signature.tasks:
        raise InvalidOption(f"step {step!r} is given an empty chain: it has no result")
    nested = isinstance(signature, group)
    if nested or (isinstance(signature, _chain) and isinstance(signature.tasks[-1], group)):
        raise InvalidOption(
            f"step {step!r}: a group inside a group, or at the end of a chain, has no single "
            "result; put a task behind it, which makes it a chord"
        )
    return signature


def _too_long(wait: Wait, seconds: float | None) -> StepTimeout:
    return StepTimeout(f"step {wait.name!r} got no answer within its timeout of {seconds:g} s")
