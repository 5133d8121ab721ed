"""The ``worchflow_*`` keys of a Celery configuration, validated once."""

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import parse_qsl

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ImportString,
    ValidationError,
    field_validator,
)

_PREFIX = "worchflow_"
_MIB = 1024 * 1024
#: How `worchflow dev` tells the processes that it starts of its own servers.
DEV_VARIABLES = {
    "database_url": "WORCHFLOW_DEV_DATABASE_URL",
    "redis_backend": "WORCHFLOW_DEV_REDIS_URL",
}
_WEAKENING = ("w", "j", "journal", "readpreference", "readconcernlevel", "retrywrites", "fsync")


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be seconds: a number or a timedelta")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]


class Settings(BaseModel):
    """What can be configured. Durations are seconds (a number or a ``timedelta``)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    #: Where executions are stored. Without a database in the URL: ``worchflow``.
    database_url: str = Field(default="mongodb://localhost:27017/worchflow", repr=False)
    #: For the leader's lock and live events; ``None``: the broker, when that is Redis.
    redis_backend: str | None = Field(default=None, repr=False)
    #: Of Redis keys, and of collections when it is not the default.
    prefix: str = Field(default="worchflow", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")
    #: The longest that one call waits for MongoDB, and ``send`` for a broker that is down.
    store_timeout: Seconds = Field(default=5.0, ge=0.1, le=300)
    #: For how long an execution belongs to its worker without a sign of life.
    lease_ttl: Seconds = Field(default=30.0, ge=1, le=86400)
    #: How long a finished execution is kept; ``None`` for ever.
    retention: Seconds | None = Field(default=None, ge=1, le=3.2e9)
    #: Of one input, one step result, one result.
    max_payload_bytes: int = Field(default=4 * _MIB, ge=1024, le=8 * _MIB, strict=True)
    #: What a worker says that it runs, such as a commit, for those who look at workers.
    code_version: str | None = Field(default=None, min_length=1, max_length=100)
    #: Whether what happens is told in Redis, for ``watch``, when there is a Redis.
    live_events: bool = Field(default=True, strict=True)
    #: Whether executions have spans, when the app has set a tracer provider of OpenTelemetry.
    tracing: bool = Field(default=True, strict=True)
    leader_election: bool = Field(default=True, strict=True)
    leader_ttl: Seconds = Field(default=15.0, ge=1, le=3600)
    leader_check_interval: Seconds = Field(default=5.0, ge=0.1, le=3600)

    #: What may be seen of payloads: a function of a flow's id and a value, or its dotted name.
    redact: ImportString[Callable[[str, Any], Any]] | None = Field(default=None, repr=False)

    @field_validator("database_url")
    @classmethod
    def _safe(cls, url: str) -> str:
        if not re.fullmatch(r"mongodb(\+srv)?://[^\s\x00-\x1f\x7f]+", url):
            raise ValueError("must be a mongodb:// or mongodb+srv:// URL")
        for name, value in parse_qsl(url.partition("?")[2].replace(";", "&"), True):
            if name.lower() in _WEAKENING and (name.lower(), value.lower()) not in _HARMLESS:
                raise ValueError(
                    f"must not set {name}: durability rests on majority, journaled "
                    "writes and reads from the primary; remove it from the URL"
                )
        return url

    @field_validator("redis_backend")
    @classmethod
    def _redis(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"(rediss?|unix)://", url):
            raise ValueError("must be a redis://, rediss:// or unix:// URL")
        return url

    @property
    def observation(self) -> float:
        """Seconds that a silent lease is watched before it is taken over.

        Long enough for a living worker to renew first when MongoDB comes back: two of its
        renewals and the connecting. Short leases are watched for less, or they would not be
        taken over within ``lease_ttl`` + 3 s.
        """
        return min(self.lease_ttl / 4 + 5, self.lease_ttl / 2 + 1.5)


_HARMLESS = {
    ("w", "majority"),
    ("journal", "true"),
    ("readpreference", "primary"),
    ("readconcernlevel", "majority"),
    ("retrywrites", "true"),
}


def load(app: Celery, given: Mapping[str, Any]) -> Settings:
    """The settings of an app: its configuration, and above it what ``Worchflow`` was given.

    Raises ``ImproperlyConfigured`` naming the setting; its value is not shown, for it may be a
    URL with a password.
    """
    values = _configured(app) | dict(given) | _of_dev()
    check_names(values)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = first["loc"][0] if first["loc"] else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise ImproperlyConfigured(f"{_PREFIX}{name}: {reason}") from None


def _of_dev() -> dict[str, Any]:
    given = {name: os.environ.get(variable) for name, variable in DEV_VARIABLES.items()}
    return {name: url for name, url in given.items() if url}


def check_names(values: Mapping[str, Any]) -> None:
    """Refuse names that are no settings."""
    for name in values:
        if name not in Settings.model_fields:
            known = ", ".join(_PREFIX + field for field in Settings.model_fields)
            raise ImproperlyConfigured(f"{_PREFIX}{name} is not a setting; there are {known}")


def _configured(app: Celery) -> dict[str, Any]:
    """What the configuration holds, with Django's ``CELERY_`` namespace and in either case."""
    namespace = str(getattr(app, "namespace", None) or "celery").lower().rstrip("_") + "_"
    values = {}
    for key in app.conf.keys():  # noqa: SIM118 - a celery Settings is no dict
        name = key.lower().removeprefix(namespace)
        if name.startswith(_PREFIX):
            values[name.removeprefix(_PREFIX)] = app.conf[key]
    return values
