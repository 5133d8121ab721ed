"""Who may do what, from where: access, hosts, origins, headers."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request

Role = Literal["viewer", "operator", "admin"]
_RANK: dict[str, int] = {"viewer": 0, "operator": 1, "admin": 2}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: No ``unsafe-*``: nothing that a payload could bring is ever run.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do.

    A ``viewer`` reads; an ``operator`` also sends, retries, cancels and steers schedules; an
    ``admin`` also acts on many executions at once. A viewer sees no payloads unless ``payloads``
    says so.
    """

    role: Role
    #: For the audit log.
    user: str = "-"
    payloads: bool | None = None

    def __post_init__(self) -> None:
        if self.role not in _RANK:
            raise ValueError(f"role is {self.role!r:.80}: it must be one of {', '.join(_RANK)}")

    def may(self, role: Role) -> bool:
        """Whether this is as much as ``role``, or more."""
        return _RANK[self.role] >= _RANK[role]

    @property
    def sees_payloads(self) -> bool:
        """Whether data and results are shown."""
        return self.may("operator") if self.payloads is None else self.payloads


#: Says who asks; ``None``: nobody that is known.
Auth = Callable[[Request], Access | Awaitable[Access | None] | None]

#: Without any authentication, for those who reach the loopback address.
EVERYBODY = Access("admin", "-")


class Credentials:
    """Names and secrets that a browser or a script sends in ``Authorization``."""

    #: Makes a browser ask.
    challenge = 'Basic realm="worchflow", charset="UTF-8"'

    def __init__(self, known: Mapping[str, Access], *, by_name: bool) -> None:
        #: By a fingerprint: what is compared then has one length and says nothing by its time.
        self._known = [(_fingerprint(text), access) for text, access in known.items()]
        self._by_name = by_name

    def __call__(self, request: Request) -> Access | None:
        """Compare with all that are known, always."""
        given = _fingerprint(self._given(request.headers.get("authorization", "")))
        found = None
        for known, access in self._known:
            if hmac.compare_digest(known, given):
                found = access
        return found

    def _given(self, header: str) -> str:
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer" and not self._by_name:
            return value.strip()
        if scheme.lower() != "basic":
            return ""
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
        # A browser can send a token as a password; the name beside it is of no account.
        return text if self._by_name else text.partition(":")[2]


def basic(users: Mapping[str, str | tuple[str, Role]]) -> Credentials:
    """HTTP Basic: names to passwords, or to a password and a role (``operator``).

    Passwords travel with every request: put TLS before it.
    """
    known = {}
    for name, given in users.items():
        password, role = (given, "operator") if isinstance(given, str) else given
        _check_secret(password, f"the password of {name!r}")
        known[f"{name}:{password}"] = Access(role, name)  # type: ignore[arg-type]
    return Credentials(known, by_name=True)


def token(tokens: str | Mapping[str, Role]) -> Credentials:
    """A bearer token (role ``operator``), or several with their roles.

    A browser asks for it: any name, and the token as the password.
    """
    many: Mapping[str, Role] = {tokens: "operator"} if isinstance(tokens, str) else tokens
    for one in many:
        _check_secret(one, "a token")
    known = {one: Access(role, f"token {_name(one)}") for one, role in many.items()}
    return Credentials(known, by_name=False)


def is_loopback(host: str | None) -> bool:
    """Whether a name or an address (with a port or without) is this machine's own."""
    name = (urlsplit(f"//{host}").hostname or "") if host else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_is_allowed(host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a ``Host`` header names one of these hosts; ``*`` is any."""
    try:
        name = (urlsplit(f"//{host}").hostname or "") if host else ""
    except ValueError:
        return False
    return any(one in ("*", name, host) for one in allowed)


def cross_site(request: Request, trusted_origins: Sequence[str]) -> str | None:
    """Why a request that changes something may come from a foreign page; ``None``: it does not.

    A browser on plain HTTP sends no ``Sec-Fetch-Site``: then ``Origin`` has to be ours. Without
    either it is no browser's form; a script then says who it is, or sends JSON, which no foreign
    page can without being asked first.
    """
    headers = request.headers
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin in trusted_origins:
        return None
    if site is not None:
        return None if site == "same-origin" else f"it comes from another site ({site[:20]})"
    if origin is not None:
        ours = urlsplit(origin).netloc == headers.get("host")
        return None if ours else f"its origin is {origin[:100]!r}, not this host"
    if "authorization" in headers or headers.get("content-type", "").startswith("application/json"):
        return None
    return "it says neither where it comes from nor who sends it"


def _fingerprint(text: str) -> bytes:
    return hashlib.sha256(b"worchflow\x00" + text.encode()).digest()


def _name(secret: str) -> str:
    """What tells one token from another in the audit log, and not what it is."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def _check_secret(secret: object, what: str) -> None:
    if not isinstance(secret, str) or len(secret) < 8:
        raise ValueError(f"{what} must be a text of at least 8 characters")
