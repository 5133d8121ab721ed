"""Who leads the schedulers, for how long, and who stands by."""

from dataclasses import dataclass, field
from datetime import datetime

from celery.exceptions import ImproperlyConfigured

from worchflow_celery.app import Worchflow
from worchflow_celery.inspection import RedisUnavailable, leader_lock
from worchflow_celery.observed import SchedulerInfo
from worchflow_celery.runtime import leader_key, redis_url

_MOST = 50


@dataclass(frozen=True, slots=True)
class Leading:
    """What can be said of the schedulers now."""

    #: ``leads``, ``nobody``, ``unknown``, or ``alone`` without an election.
    state: str
    leader: SchedulerInfo | None = None
    #: Seconds that its lock has left.
    left: float | None = None
    since: datetime | None = None
    standby: list[SchedulerInfo] = field(default_factory=list)
    #: Why nobody can tell.
    why: str = ""


def leading(worchflow: Worchflow) -> Leading:
    """Look at the lock, and at the schedulers that give signs of life."""
    runtime = worchflow.runtime
    known = runtime.store.schedulers.all(_MOST)
    if not runtime.settings.leader_election:
        alone = [one for one in known if one.token]
        return Leading("alone" if alone else "nobody", alone[0] if alone else None)
    try:
        lock = leader_lock(redis_url(runtime), leader_key(runtime.settings))
    except (RedisUnavailable, ImproperlyConfigured) as error:
        return Leading("unknown", standby=known, why=str(error))
    if lock is None:
        return Leading("nobody", standby=known)
    token, left = lock
    leader = next((one for one in known if one.token == token), None)
    standby = [one for one in known if one is not leader]
    return Leading("leads", leader, left, leader.since if leader else None, standby)
