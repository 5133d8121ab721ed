"""What crosses the border of the store: frozen values on this side, documents on the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from worchflow_celery import codec
from worchflow_celery.errors import CorruptDocument
from worchflow_celery.models import Execution

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copied:
    """Checkpoints that a restarted execution takes over: those before a step of another one."""

    of: str
    #: The place of that step in its attempt.
    before: int
    count: int


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An execution that is to be stored."""

    id: str
    flow: str
    #: Encoded.
    data: str
    data_hash: str
    queue: str
    trigger: Mapping[str, str | None]
    priority: int | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    #: The window of its schedule.
    scheduled_for: datetime | None = None
    #: Not to start before; ``None``: at once.
    not_before: datetime | None = None
    #: What Celery is to go on with afterwards, as JSON.
    canvas: str | None = None
    #: What its messages carry beside the id, as JSON.
    message: str | None = None
    #: ``id``, ``key`` and ``run`` of the step that began it, and whether that ``waits`` for it.
    parent: Mapping[str, Any] | None = None
    #: How many executions are above it.
    depth: int = 0
    #: What it takes over.
    copied: Copied | None = None
    #: The span that sends it, as W3C's headers.
    trace: Mapping[str, str] | None = None


class Owner(NamedTuple):
    """The process that makes an attempt, so that its death can be told from its silence."""

    worker: str
    #: Host, boot and process namespace: within them a pid names one process at a time.
    host: str
    pid: int
    parent: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How an execution is to end when its steps are undone."""

    #: ``failed`` or ``cancelled``.
    status: str
    error: Mapping[str, str]
    #: In which it was decided: what crashes from then on crashes over this.
    epoch: int
    #: The class of the error, ``module:name``.
    raised: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that is ours, until its lease is lost."""

    id: str
    flow: str
    #: Encoded.
    data: str
    token: str
    epoch: int
    attempt: int
    #: The epoch in which this attempt number began.
    attempt_epoch: int
    #: Epochs that ended in a crash.
    crashed: tuple[int, ...]
    created_at: datetime
    queue: str
    priority: int | None
    canvas: str | None
    message: str | None
    #: The step that was last seen to begin, noted only when steps kill their workers.
    current_step: str | None
    #: What somebody asked of the attempt before: ``cancel`` or ``pause``.
    asked: str | None
    #: It runs no more, it is undone.
    ending: Ending | None
    #: The epoch of its last manual retry.
    retried_epoch: int
    #: How often it had been called when it was claimed.
    calls: int
    #: How many executions are above it.
    depth: int
    parent: Mapping[str, Any] | None
    #: Its start is counted, in a flow with a throttle.
    admitted: bool
    #: It has never been on a worker before, but to be told to wait.
    unbegun: bool
    copied: Copied | None
    #: The span that sent it, as W3C's headers. Whatever it is, no attempt fails over it.
    trace: Any

    @property
    def ids(self) -> dict[str, str]:
        """What a line in the log is about."""
        return {"execution": self.id, "flow": self.flow}

    @property
    def is_awaited(self) -> bool:
        """Whether a step of another execution waits for its end."""
        return bool(self.parent and self.parent.get("waits"))

    @property
    def resumed(self) -> bool:
        """Whether there may be checkpoints already."""
        return self.epoch > 1 or self.copied is not None


@dataclass(frozen=True, slots=True)
class Due:
    """An execution whose message is to be published."""

    id: str
    flow: str
    queue: str
    priority: int | None
    #: It has been on a worker before: it need not wait behind new ones.
    begun: bool
    publishes: int
    canvas: str | None
    message: str | None

    @property
    def ids(self) -> dict[str, str]:
        """What a line in the log is about."""
        return {"execution": self.id, "flow": self.flow}


@dataclass(frozen=True, slots=True)
class Finished:
    """An execution that has ended, while Celery has not gone on after it."""

    id: str
    status: str
    result: str | None
    error: Mapping[str, str] | None
    canvas: str | None
    parent: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a later attempt needs of one recorded run of a step."""

    key: str
    status: str
    #: Encoded, when it completed.
    result: str | None = None
    error: Mapping[str, str] | None = None
    attempt: int
    epoch: int
    #: It failed and must not run again.
    final: bool = False
    #: The class of the error, ``module:name``, when it was raised into the handler.
    raised: str | None = None
    #: What it was made of: a signal, a child, a task.
    ref: str | None = None
    #: Something undoes it when its execution fails or is cancelled.
    undo: bool = False
    #: Written when its execution was ending: ``compensate`` or ``on_failure``.
    phase: str | None = None
    #: How often its step was undone before; of ``on_failure``, the epoch of the ending.
    again: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Recorded):
    """One recorded run of a step."""

    name: str
    seq: int
    started_at: datetime
    finished_at: datetime | None = None
    kind: str = "run"


_CLAIM = TypeAdapter(Claim)
_RECORDED = TypeAdapter(Recorded)
_CHECKPOINT = TypeAdapter(Checkpoint)
#: Fields that a document has only when they hold something.
_MAY_LACK: Document = {
    **dict.fromkeys(("priority", "canvas", "message", "current_step", "parent", "asked")),
    **dict.fromkeys(("copied", "ending", "trace")),
    "retried_epoch": 0,
    "calls": 0,
    "depth": 0,
    "admitted": False,
}


def claim_of(document: Document) -> Claim:
    """The claim that a document stands for; raises ``CorruptDocument``."""
    try:
        fields = {
            **_MAY_LACK,
            **document,
            "id": document["_id"],
            "token": document["owner"]["token"],
            "crashed": tuple(document.get("crashed", ())),
        }
        return _CLAIM.validate_python(fields)
    except (KeyError, TypeError, ValidationError) as error:
        raise corrupt("execution", document.get("_id"), error) from error


def due_of(document: Document) -> Due:
    """The message that a document wants."""
    return Due(
        id=document["_id"],
        flow=document["flow"],
        queue=document["queue"],
        priority=document.get("priority"),
        begun=document.get("epoch", 0) > 0,
        publishes=document.get("publishes", 0),
        canvas=document.get("canvas"),
        message=document.get("message"),
    )


def execution_of(document: Document) -> Execution:
    """What a user reads of a document."""
    fields = {name: document[name] for name in Execution.model_fields if name in document}
    try:
        fields["id"] = document["_id"]
        fields["data"] = shown(document["data"])
        fields["result"] = shown(document.get("result"))
        fields["worker"] = (document.get("owner") or {}).get("worker")
        fields["parent_id"] = (document.get("parent") or {}).get("id")
        return Execution.model_validate(fields)
    except (KeyError, TypeError, AttributeError, ValidationError, codec.UndecodableValue) as error:
        raise corrupt("execution", document.get("_id"), error) from error


def recorded_of(document: Document) -> Recorded:
    """What counts of a recorded run; raises ``CorruptDocument``."""
    try:
        return _RECORDED.validate_python(document)
    except ValidationError as error:
        raise corrupt("step", document.get("_id"), error) from error


def checkpoint_of(document: Document) -> Checkpoint:
    """A recorded run of a step; raises ``CorruptDocument``."""
    try:
        return _CHECKPOINT.validate_python(document)
    except ValidationError as error:
        raise corrupt("step", document.get("_id"), error) from error


def shown(text: str | None) -> Any:
    """A stored value for a reader, who may not have its classes: then as plain data."""
    if text is None:
        return None
    try:
        return codec.decode(text)
    except codec.UndecodableValue:
        return codec.plain_of(text)


def corrupt(what: str, name: object, error: Exception) -> CorruptDocument:
    """The error for a document that somebody else has written to; it never holds a value."""
    reason = repr(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = ": ".join([*map(str, first["loc"]), first["msg"]])
    return CorruptDocument(
        f"the stored {what} {name!r} cannot be read ({reason[:200]}): repair or remove the document"
    )
