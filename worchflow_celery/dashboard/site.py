"""What all pages share: the app behind them, its store within a bound of time, the templates."""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from celery import Celery
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from worchflow_celery.app import Worchflow
from worchflow_celery.clock import elapsed, utcnow
from worchflow_celery.dashboard import format as texts
from worchflow_celery.dashboard.hub import Hub
from worchflow_celery.dashboard.jobs import Runner
from worchflow_celery.dashboard.once import Once
from worchflow_celery.dashboard.security import EVERYBODY, Access, Auth
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.redaction import Redact, Redactor, nothing
from worchflow_celery.runtime import runtime_of
from worchflow_celery.store.reading import patience

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
#: Seconds after which a store that says nothing is down, and those that one page may take.
_SIGN_OF_LIFE, _PATIENCE = 1.3, 5.0
#: Seconds for which nobody asks a store again that was down, or one that was there.
_REST, _FRESH = 0.7, 0.5
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Options:
    """How a dashboard was made."""

    auth: Auth | None = None
    redact: Redact | None = None
    read_only: bool = False
    title: str = "worchflow"
    allowed_hosts: tuple[str, ...] = ()
    trusted_origins: tuple[str, ...] = ()
    insecure_no_auth: bool = False


@dataclass
class Files:
    """The static files, read once: a name from a URL never meets the file system."""

    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    version: str = ""

    @classmethod
    def read(cls) -> "Files":
        """All of them, and a version that changes when one of them does."""
        found = sorted(one for one in (HERE / "static").iterdir() if one.suffix in _TYPES)
        files = {one.name: (one.read_bytes(), _TYPES[one.suffix]) for one in found}
        digest = hashlib.sha256(b"".join(content for content, _ in files.values()))
        return cls(files, digest.hexdigest()[:12])


class TooSlow(StoreUnavailable):
    """MongoDB is there, and did not find what was asked for in time."""


class Site:
    """The dashboard of one Celery app."""

    def __init__(self, app: Celery, options: Options) -> None:
        runtime_of(app)  # raises with the line to write
        self.app = app
        self.options = options
        self.files = Files.read()
        self.down_since: datetime | None = None
        self._down: StoreUnavailable | None = None
        self._asked_at = float("-inf")
        self.once = Once()
        self.hub = Hub(lambda: self.worchflow.watch())
        self.jobs = Runner(lambda: self.worchflow, self.audit)

    @cached_property
    def worchflow(self) -> Worchflow:
        """The binding, once the modules that define its flows are imported."""
        self.app.loader.import_default_modules()
        bound: Worchflow = getattr(self.app, "worchflow")  # noqa: B009 - Celery does not know it
        return bound

    @cached_property
    def templates(self) -> Environment:
        """Everything that they print is escaped."""
        environment = Environment(
            loader=PackageLoader("worchflow_celery.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= _FILTERS
        environment.globals |= {"GLYPHS": texts.GLYPHS, "MARKS": texts.MARKS}
        return environment

    @contextmanager
    def reading(self) -> Iterator[Worchflow]:
        """Read from the store; raises ``StoreUnavailable`` within two seconds when it is down."""
        worchflow = self.worchflow
        self._ask(worchflow)
        begun = elapsed()
        try:
            with patience(_PATIENCE):
                yield worchflow
        except StoreUnavailable as error:
            if elapsed() - begun >= 0.9 * _PATIENCE and self._is_there(worchflow):
                raise TooSlow(
                    f"stopped after {_PATIENCE:.0f} s: narrow the time, or search by a field that "
                    "a flow declares with search=(...)"
                ) from error
            raise

    @staticmethod
    def _is_there(worchflow: Worchflow) -> bool:
        try:
            with patience(_SIGN_OF_LIFE):
                return worchflow.ping()
        except StoreUnavailable:
            return False

    def _ask(self, worchflow: Worchflow) -> None:
        since = elapsed() - self._asked_at
        if self._down is not None and since < _REST:
            raise self._down
        if self._down is None and since < _FRESH:
            return
        try:
            with patience(_SIGN_OF_LIFE):
                worchflow.ping()
        except StoreUnavailable as error:
            self._down, self._asked_at = error, elapsed()
            self.down_since = self.down_since or utcnow()
            raise
        self._down, self.down_since, self._asked_at = None, None, elapsed()

    def redactor(self, request: Request) -> Redactor:
        """What this visitor may see of payloads."""
        if not access_of(request).sees_payloads:
            return Redactor(nothing)
        return Redactor(self.options.redact or self.worchflow.settings.redact)

    @staticmethod
    def plain(value: Any) -> Any:
        """A payload as plain JSON data, with nothing hidden."""
        return Redactor().value("", value)

    def page(
        self, request: Request, template: str, context: Mapping[str, Any], status: int = 200
    ) -> Response:
        """Render a page."""
        access = access_of(request)
        shared = {
            "base": request.scope.get("root_path", ""),
            "static": self.static(request),
            "site": self,
            "options": self.options,
            "access": access,
            "may_act": self.may_change(request),
            "now": utcnow(),
            "here": request.url.path.removeprefix(request.scope.get("root_path", "")) or "/",
            "live": "false",
            "down_since": None,
        }
        text = self.templates.get_template(template).render({**shared, **context})
        return HTMLResponse(text, status, {"cache-control": "no-store"})

    def may_change(self, request: Request) -> bool:
        """Whether this visitor may do more than look."""
        return access_of(request).may("operator") and not self.options.read_only

    def static(self, request: Request) -> Callable[[str], str]:
        """Makes the URL of a static file: one that may be kept for a year."""
        base = request.scope.get("root_path", "")
        return lambda name: f"{base}/static/{self.files.version}/{name}"

    @staticmethod
    def token() -> str:
        """Marks one form, so that sending it twice does what it says once."""
        return secrets.token_urlsafe(12)

    def audit(
        self, user: str, action: str, target: str, n: int = 1, note: str | None = None
    ) -> None:
        """Note what somebody did."""
        logger.info("%s: %s %s", user, action, target, extra={"user": user, "action": action})
        try:
            self.worchflow.audit.record(action, target, who=user, n=n, note=note)
        except StoreUnavailable:  # it is done, and the log has it
            logger.warning("Not in the audit trail: %s %s by %s", action, target, user)


def site_of(request: Request) -> Site:
    """The site that a request is for."""
    site: Site = request.app.state.site
    return site


def access_of(request: Request) -> Access:
    """Who asks."""
    access: Access = getattr(request.state, "access", EVERYBODY)
    return access


_FILTERS: dict[str, Callable[..., Any]] = {
    "age": texts.age,
    "clean": texts.clean,
    "compact": texts.compact,
    "counted": texts.counted,
    "duration": texts.duration,
    "percent": texts.percent,
    "pretty": texts.pretty,
    "shortened": texts.shortened,
    "size": texts.size,
    "stamp": texts.stamp,
    "minute": texts.minute,
    "summary": texts.summary,
}
