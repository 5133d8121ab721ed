"""The schedules of an app as its users see and steer them."""

from datetime import datetime

from worchflow_celery import cron
from worchflow_celery.definition import Definition
from worchflow_celery.errors import ScheduleNotFound
from worchflow_celery.models import Schedule
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.schedules import Cursor
from worchflow_celery.windows import line_of


def schedules(runtime: Runtime) -> list[Schedule]:
    """The schedules of the app's flows, by id."""
    flows = [one for _, one in sorted(runtime.definitions.items()) if one.options.cron is not None]
    known = runtime.store.schedules.cursors([one.id for one in flows])
    return [_schedule(one, known.by_flow.get(one.id), known.now) for one in flows]


def scheduled(runtime: Runtime, flow: str) -> Definition:
    """A flow with a schedule; raises ``ScheduleNotFound``."""
    found = runtime.definitions.get(flow)
    if found is None or found.options.cron is None:
        raise ScheduleNotFound(
            f"flow {flow!r:.80} has no schedule in this app: give it cron= in its decorator"
        )
    return found


def pause(runtime: Runtime, flow: str, paused: bool) -> None:
    """Pause or resume the schedule of a flow; raises ``ScheduleNotFound``."""
    definition = scheduled(runtime, flow)
    store = runtime.store.schedules
    if not store.pause(flow, paused):  # no scheduler has seen it yet
        store.begin([line_of(definition)])
        store.pause(flow, paused)


def _schedule(definition: Definition, cursor: Cursor | None, now: datetime) -> Schedule:
    line, zone = str(definition.options.cron), definition.options.timezone
    paused = cursor.paused if cursor else False
    return Schedule(
        id=definition.id,
        cron=line,
        timezone=zone,
        next_run=None if paused else cron.next_run(line, now, zone),
        last_run=cursor.last_run if cursor else None,
        paused=paused,
    )
