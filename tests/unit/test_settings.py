"""The ``worchflow_*`` keys of a Celery configuration."""

import math
import types
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from worchflow_celery import Worchflow
from worchflow_celery.settings import Settings


def bound(*, given: dict[str, Any] | None = None, **conf: Any) -> Worchflow:
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)
    return Worchflow(app, **(given or {}))


def configured_by(namespace: str | None = None, **names: object) -> Worchflow:
    """From an object with attributes, as a module of settings is."""
    app = Celery("shop", set_as_current=False)
    app.config_from_object(types.SimpleNamespace(**names), namespace=namespace)
    return Worchflow(app)


DEFAULTS = {
    "database_url": "mongodb://localhost:27017/worchflow",
    "redis_backend": None,
    "prefix": "worchflow",
    "store_timeout": 5,
    "lease_ttl": 30,
    "retention": None,
    "max_payload_bytes": 4 * 1024 * 1024,
    "code_version": None,
    "live_events": True,
    "tracing": True,
    "leader_election": True,
    "leader_ttl": 15,
    "leader_check_interval": 5,
    "redact": None,
}


def test_the_defaults_are_those_of_the_contract() -> None:
    assert bound().settings.model_dump() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mongodb://db.example/shop"),
        ("redis_backend", "redis://cache.example/1"),
        ("prefix", "shop-2"),
        ("store_timeout", 2.5),
        ("lease_ttl", 60),
        ("retention", 86400),
        ("max_payload_bytes", 1024),
        ("code_version", "a1b2c3"),
        ("live_events", False),
        ("leader_election", False),
        ("leader_ttl", 20),
        ("leader_check_interval", 1),
    ],
)
def test_each_setting_is_read_from_the_configuration(name: str, value: object) -> None:
    assert getattr(bound(**{f"worchflow_{name}": value}).settings, name) == value


def test_a_keyword_wins_over_the_configuration() -> None:
    worchflow = bound(given={"prefix": "given"}, worchflow_prefix="configured")

    assert worchflow.settings.prefix == "given"


def test_the_configuration_may_come_after_the_binding() -> None:
    app = Celery("shop", set_as_current=False)
    worchflow = Worchflow(app)

    app.conf.worchflow_prefix = "later"

    assert worchflow.settings.prefix == "later"


@pytest.mark.parametrize(
    ("namespace", "attribute"),
    [
        (None, "worchflow_prefix"),
        (None, "WORCHFLOW_PREFIX"),
        ("CELERY", "CELERY_WORCHFLOW_PREFIX"),
        ("SHOP", "SHOP_WORCHFLOW_PREFIX"),
        ("celery_", "celery_worchflow_prefix"),
    ],
)
def test_a_module_of_settings_is_read_in_either_case_and_with_its_namespace(
    namespace: str | None, attribute: str
) -> None:
    worchflow = configured_by(namespace, **{attribute: "shop"})

    assert worchflow.settings.prefix == "shop"


def test_a_name_outside_the_namespace_is_somebody_else_s() -> None:
    worchflow = configured_by("SHOP", CELERY_WORCHFLOW_PREFIX="other", BROKER_URL="redis://")

    assert worchflow.settings.prefix == "worchflow"


@pytest.mark.parametrize(
    ("namespace", "attribute"),
    [(None, "worchflow_databse_url"), ("CELERY", "CELERY_WORCHFLOW_DATABSE_URL")],
)
def test_an_unknown_name_is_refused_with_those_that_exist(
    namespace: str | None, attribute: str
) -> None:
    worchflow = configured_by(namespace, **{attribute: "mongodb://u:sesame@db/"})

    with pytest.raises(ImproperlyConfigured) as refused:
        _ = worchflow.settings

    text = str(refused.value)
    assert "worchflow_databse_url is not a setting" in text
    assert "worchflow_database_url" in text
    assert "sesame" not in text


def test_an_unknown_keyword_is_refused_at_the_binding() -> None:
    with pytest.raises(ImproperlyConfigured, match="worchflow_lease is not a setting"):
        bound(given={"lease": 3})


BAD_VALUES = [
    ("prefix", ""),
    ("prefix", "a b"),
    ("prefix", "a.b"),
    ("prefix", "$a"),
    ("prefix", "-a"),
    ("prefix", "a" * 51),
    ("prefix", "a\n"),
    ("prefix", 5),
    ("prefix", None),
    ("store_timeout", 0),
    ("store_timeout", -1),
    ("store_timeout", "5"),
    ("store_timeout", 301),
    ("store_timeout", None),
    ("lease_ttl", 0),
    ("lease_ttl", -30),
    ("lease_ttl", 0.5),
    ("lease_ttl", math.nan),
    ("lease_ttl", math.inf),
    ("lease_ttl", True),
    ("lease_ttl", timedelta(days=2)),
    ("lease_ttl", 10**400),
    ("retention", 0),
    ("retention", -1),
    ("retention", "1 day"),
    ("retention", timedelta.max),
    ("max_payload_bytes", 0),
    ("max_payload_bytes", 1023),
    ("max_payload_bytes", 8 * 1024 * 1024 + 1),
    ("max_payload_bytes", 4096.0),
    ("max_payload_bytes", "4 MiB"),
    ("max_payload_bytes", True),
    ("leader_election", "yes"),
    ("leader_election", 1),
    ("leader_ttl", 0),
    ("leader_check_interval", 0),
    ("redis_backend", "localhost"),
    ("redis_backend", "mongodb://localhost"),
    ("redis_backend", 5),
    ("database_url", ""),
    ("database_url", "localhost"),
    ("database_url", "mongodb://"),
    ("database_url", "postgres://db/shop"),
    ("database_url", "mongodb://db /shop"),
    ("database_url", "mongodb://db/shop\n"),
    ("database_url", 5),
    ("database_url", None),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=lambda value: ascii(value)[:40])
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: object) -> None:
    worchflow = bound(**{f"worchflow_{name}": value})

    with pytest.raises(ImproperlyConfigured, match=f"^worchflow_{name}: ."):
        _ = worchflow.settings


@pytest.mark.parametrize("name", ["store_timeout", "lease_ttl", "retention", "leader_ttl"])
def test_a_duration_may_be_a_timedelta(name: str) -> None:
    worchflow = bound(**{f"worchflow_{name}": timedelta(seconds=12)})

    assert getattr(worchflow.settings, name) == 12.0


WEAKENING = [
    "w=1",
    "w=0",
    "W=2",
    "w=",
    "%77=1",
    "journal=false",
    "j=false",
    "readPreference=secondary",
    "readpreference=nearest",
    "readConcernLevel=local",
    "retryWrites=false",
    "fsync=true",
    "appName=shop&w=1",
    "appName=shop;w=1",
    "w=majority&w=1",
]


@pytest.mark.parametrize("options", WEAKENING)
def test_a_url_that_weakens_durability_is_refused(options: str) -> None:
    worchflow = bound(worchflow_database_url=f"mongodb://u:sesame@db/shop?{options}")

    with pytest.raises(ImproperlyConfigured, match=r"database_url: must not set .* remove it"):
        _ = worchflow.settings


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://db/shop?w=majority&journal=true&readPreference=primary&retryWrites=true",
        "mongodb://a:1,b:2/shop?replicaSet=rs0&readConcernLevel=majority",
        "mongodb://user:p%40ss@[::1]:27017/shop?authSource=admin&tls=true",
        "mongodb+srv://user:sesame@cluster.example/shop?appName=w",
    ],
)
def test_a_url_that_keeps_durability_is_taken(url: str) -> None:
    assert bound(worchflow_database_url=url).settings.database_url == url


MALFORMED = [
    "mongodb://u:ses@me@db/shop",
    "mongodb://u:ses/ame@db/shop",
    "mongodb://u:ses:ame@db/shop",
    "mongodb://u:ses?ame@db/shop",
    "mongodb://u:ses%zzame@db/shop",
    "mongodb://u:sesame@db:port/shop",
    "mongodb://u:sesame@db:99999/shop",
    "mongodb://u:sesame@[::1/shop",
    "mongodb://u:sesame@db/shop?replicaSte=rs0",
    "mongodb://u:sesame@db/shop?socketTimeoutMS=soon",
    "mongodb://u:sesame@db/shop?options",
    "mongodb+srv://u:sesame@db.example/shop?replicaSte=rs0",
    "mongodb://u:w=sesame?w=sesame@db/shop",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused_and_not_repeated(url: str) -> None:
    worchflow = bound(worchflow_database_url=url)

    with pytest.raises(ImproperlyConfigured) as refused:
        _ = worchflow.settings

    text = f"{refused.value} {refused.value!r} {refused.value.__cause__!r}"
    assert text.startswith("worchflow_database_url: ")
    assert "ses" not in text
    assert "ame@" not in text
    assert "\n" not in text


def test_neither_settings_nor_binding_show_a_password() -> None:
    worchflow = bound(
        worchflow_database_url="mongodb://u:sesame@db/shop",
        worchflow_redis_backend="redis://:sesame@cache/1",
    )

    shown = f"{worchflow.settings!r} {worchflow.settings} {worchflow!r} {worchflow.runtime!r}"

    assert "sesame" not in shown


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        bound().settings.prefix = "other"  # type: ignore[misc]


@pytest.mark.parametrize("ttl", [1, 2, 8, 30, 60, 86400])
def test_a_silent_lease_is_watched_for_more_than_one_renewal(ttl: float) -> None:
    observation = Settings(lease_ttl=ttl).observation

    assert ttl / 4 < observation <= ttl / 4 + 5
    assert observation <= ttl / 2 + 3, "it must be over with the lease, but for 3 s"
