"""The demo from its first line to its last."""

import os
import sys
from datetime import UTC, datetime

from examples.demo import place, proof, report
from examples.demo.place import Place
from examples.demo.screen import Screen
from examples.demo.story import Story, Stuck
from examples.demo.timeline import Timeline
from examples.demo.workers import WorkerEnded
from worchflow_celery.errors import WorchflowError
from worchflow_celery.servers import ServersUnavailable

PROVEN, NOT_PROVEN, NO_SERVERS = 0, 1, 5


def perform() -> int:
    """Show it, and return the exit code."""
    screen = Screen(sys.stdout, os.environ)
    timeline = Timeline(screen, datetime.now(UTC))
    report.title(screen)
    try:
        timeline.say("servers", "start: Redis and MongoDB, on this machine")
        with place.settled() as where:
            timeline.say("servers", f"ready: Redis {where.redis}, MongoDB {where.mongodb}")
            return PROVEN if _tell(screen, timeline, where) else NOT_PROVEN
    except ServersUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_SERVERS
    except (WorkerEnded, Stuck, WorchflowError) as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_PROVEN


def _tell(screen: Screen, timeline: Timeline, where: Place) -> bool:
    story = Story(screen, timeline, where)
    try:
        evidence = story.tell()
    finally:
        story.end()
    report.runs(screen, evidence)
    return report.verdict(screen, proof.examine(evidence))
