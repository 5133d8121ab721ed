"""Which Celery settings, and which servers, the checkup finds fault with."""

from typing import Any

import pytest
from celery import Celery

from worchflow_celery.checkup import Level, celery_findings, redis_findings, topology_findings
from worchflow_celery.inspection import RedisFacts, place_of
from worchflow_celery.store.inspection import Topology

SOUND = {
    "worker_prefetch_multiplier": 1,
    "broker_transport_options": {"socket_timeout": 30, "socket_connect_timeout": 5},
}


def faults(**conf: Any) -> list[str]:
    app = Celery("checked", set_as_current=False)
    app.conf.update(SOUND | conf)
    return [one.message for one in celery_findings(app) if one.level is not Level.OK]


def test_sound_settings_have_no_fault() -> None:
    assert faults() == []


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"task_always_eager": True}, "task_always_eager"),
        ({"accept_content": ["json", "pickle"]}, "pickle"),
        ({"task_acks_late": True}, "visibility_timeout 3600 s"),
        ({"task_acks_late": True, "task_time_limit": 7200}, "task_time_limit 7200 s"),
        ({"broker_transport_options": {"socket_timeout": 5}}, "socket_connect_timeout"),
        ({"worker_prefetch_multiplier": 4}, "worker_prefetch_multiplier is 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_setting_that_hurts_is_named(conf: dict[str, Any], word: str) -> None:
    (fault,) = faults(**conf)

    assert word in fault


def test_late_acknowledgement_within_the_visibility_timeout_is_no_fault() -> None:
    assert faults(task_acks_late=True, task_time_limit=600) == []


@pytest.mark.parametrize(
    ("topology", "level"),
    [
        (Topology("6.0.5", "rs0", 3, 0.003), Level.OK),
        (Topology("6.0.5", None, 1, 0.003), Level.WARNING),
        (Topology("4.2.1", "rs0", 3, 0.003), Level.ERROR),
    ],
    ids=["set", "standalone", "old"],
)
def test_mongodb_is_judged_by_version_and_topology(topology: Topology, level: Level) -> None:
    assert next(topology_findings(topology, "h:1")).level is level


def test_clocks_that_are_apart_are_a_warning_with_the_difference() -> None:
    _, clock = topology_findings(Topology("6.0.5", "rs0", 3, -4.2), "h:1")

    assert clock.level is Level.WARNING and "4200 ms" in clock.message


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        (RedisFacts("6.2.14", "noeviction", True, False, True), [Level.OK]),
        (RedisFacts("5.0.1", "noeviction", True, False, True), [Level.ERROR]),
        (RedisFacts("7.0.0", "allkeys-lru", True, False, True), [Level.OK, Level.ERROR]),
        (RedisFacts("7.0.0", "noeviction", False, True, True), [Level.OK, Level.WARNING]),
    ],
    ids=["sound", "old", "evicts", "open"],
)
def test_redis_is_judged(facts: RedisFacts, levels: list[Level]) -> None:
    assert [one.level for one in redis_findings(facts, "h:1")] == levels


def test_the_place_of_a_redis_has_no_password() -> None:
    assert place_of("redis://user:p@ss@host:6379/0?x=secret") == "host:6379/0"
