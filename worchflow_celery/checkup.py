"""What is well and what is not with an app and its servers: one finding a fact.  No output."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from celery import Celery

from worchflow_celery.errors import WorchflowError
from worchflow_celery.inspection import RedisFacts, place_of, redis_facts
from worchflow_celery.runtime import Runtime, redis_url
from worchflow_celery.store.database import hosts
from worchflow_celery.store.inspection import SAMPLE, Inspection, Topology

_OLDEST_MONGO, _OLDEST_REDIS = (4, 4), (6, 2)
_MOST_SKEW = 2.0
_MOST_WORKERS = 1000
_UNSAFE = {"pickle", "yaml", "application/x-python-serialize", "application/x-yaml"}
#: Seconds after which Redis hands a message out again, unless it is configured.
_VISIBILITY_TIMEOUT = 3600


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact, and what to do about it."""

    level: Level
    #: What was looked at: ``mongodb``, ``indexes``, ``clock``, ``redis``, ``celery`` …
    check: str
    message: str
    fix: str = ""


def findings(runtime: Runtime, *, fix_indexes: bool) -> Iterator[Finding]:
    """Look at everything, one thing after the other; what cannot be asked is an error."""
    yield from _guarded("mongodb", lambda: _mongo(runtime, fix_indexes))
    yield from _guarded("redis", lambda: _redis(runtime))
    yield from celery_findings(runtime.app)


def _guarded(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except WorchflowError as error:
        yield Finding(Level.ERROR, check, str(error))


def _mongo(runtime: Runtime, fix_indexes: bool) -> Iterator[Finding]:
    settings = runtime.settings
    search = sorted({name for one in runtime.definitions.values() for name in one.options.search})
    with Inspection(settings) as inspection:
        yield from topology_findings(inspection.topology(), hosts(settings.database_url))
        if fix_indexes and (fixed := inspection.fix_indexes(search)):
            yield Finding(Level.OK, "indexes", f"made anew: {', '.join(fixed)}")
        wrong = inspection.wrong_indexes(search)
        yield _of_indexes(wrong)
        yield from _of_documents(runtime, inspection)


def topology_findings(found: Topology, place: str) -> Iterator[Finding]:
    """What the server is."""
    what = f"MongoDB {found.version} at {place}"
    if _version(found.version) < _OLDEST_MONGO:
        yield Finding(Level.ERROR, "mongodb", f"{what} is too old", "use MongoDB 4.4 or newer")
    elif found.replica_set is None:
        yield Finding(
            Level.WARNING,
            "mongodb",
            f"{what} stands alone: what it has confirmed is lost with its disk",
            "run it as a replica set; three members survive the loss of one",
        )
    else:
        members = f"{found.members} member{'s' * (found.members != 1)}"
        yield Finding(Level.OK, "mongodb", f"{what}, replica set {found.replica_set}, {members}")
    skew = f"this clock and MongoDB's are {abs(found.skew) * 1000:.0f} ms apart"
    if abs(found.skew) > _MOST_SKEW:
        yield Finding(Level.WARNING, "clock", skew, "synchronise the clocks (NTP)")
    else:
        yield Finding(Level.OK, "clock", skew)


def _of_indexes(wrong: list[str]) -> Finding:
    if wrong:
        fix = "doctor --fix-indexes makes them anew"
        return Finding(Level.ERROR, "indexes", f"missing or different: {', '.join(wrong)}", fix)
    return Finding(Level.OK, "indexes", "all there")


def _of_documents(runtime: Runtime, inspection: Inspection) -> Iterator[Finding]:
    workers = runtime.store.workers.all(_MOST_WORKERS)
    known = set(runtime.definitions).union(*(one.flows for one in workers if one.alive))
    for flow, unfinished in sorted(inspection.stranded(known).items()):
        many = f"{unfinished}{'+' * (unfinished == SAMPLE)}"
        yield Finding(
            Level.WARNING,
            "flows",
            f"{many} unfinished executions of {flow!r}, a flow that no worker knows",
            "start a worker that has it, or cancel them",
        )
    late = inspection.overdue()
    if late is not None:
        fix = "start a worker that listens to its queue"
        yield Finding(Level.WARNING, "workers", f"execution {late!r} is long overdue", fix)
    corrupt = inspection.corrupt()
    for text in corrupt[:5]:
        yield Finding(Level.ERROR, "documents", text)
    if not corrupt:
        yield Finding(
            Level.OK, "documents", f"the newest executions can be read (at most {SAMPLE} are)"
        )


def _redis(runtime: Runtime) -> Iterator[Finding]:
    broker = str(runtime.app.conf.broker_url or "")
    if broker.startswith(("redis://", "rediss://", "unix://")):
        lock = f"{runtime.settings.prefix}:leader"
        yield from redis_findings(redis_facts(broker, lock), place_of(broker))
    else:
        kind = broker.partition("://")[0] or "none"
        yield Finding(Level.WARNING, "redis", f"the broker is {kind}, which is not tested here")
    scheduled = sorted(f for f, one in runtime.definitions.items() if one.options.cron)
    if scheduled and runtime.settings.leader_election:
        url = redis_url(runtime)
        yield _of_leader(redis_facts(url, f"{runtime.settings.prefix}:leader"), scheduled)


def redis_findings(found: RedisFacts, place: str) -> Iterator[Finding]:
    """What the broker is."""
    what = f"Redis {found.version} at {place}"
    if _version(found.version) < _OLDEST_REDIS:
        yield Finding(Level.ERROR, "redis", f"{what} is too old", "use Redis 6.2 or newer")
    else:
        kept = "keeps messages on disk" if found.persists else "keeps messages in memory only"
        yield Finding(Level.OK, "redis", f"{what} {kept}; flows survive their loss")
    if found.eviction != "noeviction":
        yield Finding(
            Level.ERROR,
            "redis",
            f"{what} evicts by {found.eviction}: when its memory is full, messages, locks and "
            "Celery's bindings disappear",
            "set maxmemory-policy noeviction",
        )
    if found.open:
        fix = "set a password: whoever reaches Redis can stop your workers"
        yield Finding(Level.WARNING, "redis", f"{what} has no password", fix)


def _of_leader(found: RedisFacts, scheduled: list[str]) -> Finding:
    if found.led:
        return Finding(Level.OK, "beat", "a scheduler leads")
    return Finding(
        Level.WARNING,
        "beat",
        f"no scheduler leads, so nothing starts by its schedule: {', '.join(scheduled[:5])}",
        "celery -A yourapp beat -S worchflow_celery.Scheduler",
    )


def celery_findings(app: Celery) -> Iterator[Finding]:
    """Which of the app's Celery settings cost durability, or hands."""
    options: Mapping[str, Any] = app.conf.broker_transport_options or {}
    found = [finding for look in _SETTINGS for finding in look(app.conf, options)]
    yield from found
    if not found:
        yield Finding(Level.OK, "celery", "no setting hurts")


def _of_eager(conf: Any, options: Mapping[str, Any]) -> Iterator[Finding]:
    if conf.task_always_eager:
        text = "task_always_eager is on: flows run in the process that sends them"
        yield Finding(Level.ERROR, "celery", text, "leave it to tests")


def _of_content(conf: Any, options: Mapping[str, Any]) -> Iterator[Finding]:
    unsafe = sorted(_UNSAFE.intersection(conf.accept_content or ()))
    if unsafe:
        text = f"accept_content has {', '.join(unsafe)}: whoever writes to the broker runs code"
        yield Finding(Level.WARNING, "celery", text, 'accept_content = ["json"]')


def _of_visibility(conf: Any, options: Mapping[str, Any]) -> Iterator[Finding]:
    visibility = options.get("visibility_timeout", _VISIBILITY_TIMEOUT)
    limit = conf.task_time_limit
    if conf.task_acks_late and (limit is None or limit > visibility):
        longest = "no task_time_limit" if limit is None else f"task_time_limit {limit:g} s"
        text = (
            f"task_acks_late with visibility_timeout {visibility:g} s and {longest}: an ordinary "
            "task that runs longer runs twice; flows do not"
        )
        fix = "raise broker_transport_options['visibility_timeout'] above the longest task"
        yield Finding(Level.WARNING, "celery", text, fix)


def _of_sockets(conf: Any, options: Mapping[str, Any]) -> Iterator[Finding]:
    missing = [n for n in ("socket_connect_timeout", "socket_timeout") if not options.get(n)]
    if missing:
        text = (
            f"broker_transport_options lacks {' and '.join(missing)}: "
            "a frozen broker is waited for without end"
        )
        yield Finding(Level.WARNING, "celery", text, "5 and 30 seconds do")


def _of_prefetch(conf: Any, options: Mapping[str, Any]) -> Iterator[Finding]:
    if conf.worker_prefetch_multiplier != 1:
        text = (
            f"worker_prefetch_multiplier is {conf.worker_prefetch_multiplier}: a busy worker holds "
            "messages that an idle one could run"
        )
        yield Finding(Level.WARNING, "celery", text, "worker_prefetch_multiplier = 1")


_SETTINGS = (_of_eager, _of_content, _of_visibility, _of_sockets, _of_prefetch)


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)
