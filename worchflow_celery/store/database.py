"""The door to MongoDB: one client per process, its collections, their indexes, its clock."""

import logging
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from celery.exceptions import ImproperlyConfigured
from pymongo import IndexModel, InsertOne, MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)
from pymongo.uri_parser import parse_uri, split_options

from worchflow_celery.clock import utcnow
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.settings import Settings
from worchflow_celery.store.indexes import EXECUTION_INDEXES, create_indexes, search_indexes

Document = dict[str, Any]

logger = logging.getLogger(__name__)

#: The server has gone, is going, or has not become primary: the same call may succeed later.
_PASSING_CODES = {6, 7, 50, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
_DUPLICATE = 11000


class Database:
    """MongoDB as this process talks to it.

    Nothing is opened before the first use, and never before a fork: whoever makes a process
    makes its own ``Database``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._client: MongoClient[Document] | None = None
        self._indexed: set[str] = set()
        #: Collections whose indexes are made.
        self._prepared: set[str] = set()
        self._collections: dict[str, Collection[Document]] = {}
        #: How far MongoDB's clock is ahead of ours, measured on the first use.
        self._offset = timedelta()

    def now(self) -> datetime:
        """The present time on MongoDB's clock, as well as one look at it can tell."""
        self._ready()
        return utcnow() + self._offset

    def collection(self, name: str) -> Collection[Document]:
        """One of our collections; with a prefix that is not the default, its name begins so."""
        self._ready()
        found = self._collections.get(name)
        if found is None:
            database = self._ready().get_default_database("worchflow")
            found = self._collections[name] = database[named(self.settings, name)]
        return found

    def ensure_search(self, fields: tuple[str, ...]) -> None:
        """Make the indexes of a flow's ``search`` fields, once in this process."""
        if self._indexed.issuperset(fields):
            return
        executions = self.collection("executions")
        with translated(self.settings):
            create_indexes(executions, search_indexes(fields))
        self._indexed.update(fields)

    def ensure_indexes(self, name: str, indexes: list[IndexModel]) -> None:
        """Make the indexes of a collection, once in this process."""
        collection = self.collection(name)
        if name not in self._prepared:
            with translated(self.settings):
                create_indexes(collection, indexes)
            self._prepared.add(name)

    def ping(self) -> None:
        """Ask MongoDB for a sign of life."""
        client = self._ready()
        with translated(self.settings):
            client.admin.command("ping")

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        with self._lock:
            client, self._client = self._client, None
            self._collections = {}
        if client is not None:
            client.close()

    def measure_clock(self) -> None:
        """Compare our clock with MongoDB's again; either may have been set since."""
        client = self._ready()
        with translated(self.settings):
            self._measure_clock(client)

    def _measure_clock(self, client: "MongoClient[Document]") -> None:
        before = utcnow()
        hello = client.admin.command("hello", codec_options=client.codec_options)
        self._offset = hello["localTime"] - before - (utcnow() - before) / 2

    def _ready(self) -> "MongoClient[Document]":
        client = self._client
        if client is not None:
            return client
        with self._lock, translated(self.settings):
            if self._client is None:
                client = connect(self.settings)
                try:
                    self._prepare(client)
                except BaseException:
                    client.close()
                    raise
                self._client = client
            return self._client

    def _prepare(self, client: "MongoClient[Document]") -> None:
        self._measure_clock(client)
        executions = client.get_default_database("worchflow")[named(self.settings, "executions")]
        create_indexes(executions, EXECUTION_INDEXES)


class translated:  # noqa: N801 - reads as what it does; a generator would take three times as long
    """Raise ``StoreUnavailable`` for what MongoDB cannot do now, or not for us.

    Its text names the host and the cause, never a password.
    """

    __slots__ = ("_settings",)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> None: ...

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: object
    ) -> None:
        if not isinstance(error, PyMongoError):
            return
        if isinstance(error, OperationFailure) and not _is_refusal(error) and not is_passing(error):
            return
        raise StoreUnavailable(
            f"MongoDB at {hosts(self._settings.database_url)} is not available: {_cause(error)}"
        ) from _without_secret(error, self._settings)


def is_passing(error: PyMongoError) -> bool:
    """Whether the same call may succeed when MongoDB is back."""
    if isinstance(error, OperationFailure) and not isinstance(
        error, ExecutionTimeout | WTimeoutError
    ):
        return error.code in _PASSING_CODES or error.has_error_label("RetryableWriteError")
    return isinstance(error, ConnectionFailure | ExecutionTimeout | WTimeoutError) or bool(
        error.timeout
    )


def check_url(url: str) -> None:
    """Refuse a URL that PyMongo would not take, or take with a shrug; nothing is connected.

    Raises ``ImproperlyConfigured`` that does not repeat the URL.
    """
    try:
        if url.startswith("mongodb+srv://"):  # its hosts are in DNS, only the options are here
            split_options(url.partition("?")[2] or "appname=worchflow", warn=False)
        else:
            parse_uri(url, warn=False)
    except (PyMongoError, ValueError, TypeError, OSError) as error:
        raise ImproperlyConfigured(f"worchflow_database_url: {error}"[:300]) from None


def hosts(url: str) -> str:
    """The hosts of a MongoDB URL, without user, password and options."""
    # By hand: a password may hold what ends a host for urlsplit.
    authority = url.partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[2].partition("?")[0] or "?"


def named(settings: Settings, name: str) -> str:
    """What a collection is called: with a prefix that is not the default, its name begins so."""
    return name if settings.prefix == "worchflow" else f"{settings.prefix}_{name}"


def connect(settings: Settings) -> "MongoClient[Document]":
    """A client whose writes are on a majority's disks when they return.

    All of it is said here, for a set with an arbiter would silently answer after one member.
    """
    patience = int(settings.store_timeout * 1000)
    return MongoClient(
        settings.database_url,
        appname="worchflow",
        tz_aware=True,
        tzinfo=UTC,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        readPreference="primary",
        retryWrites=True,
        timeoutMS=patience,
        serverSelectionTimeoutMS=patience,
        connectTimeoutMS=patience,
    )


def write_new(
    collection: Collection[Document], writes: Sequence[InsertOne[Document] | UpdateOne]
) -> list[int]:
    """Write those documents whose ids are free; return the places of those that were taken."""
    try:
        collection.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        faults = error.details["writeErrors"]
        if error.details.get("writeConcernErrors"):  # else they would pass for written
            raise WTimeoutError("a majority has not confirmed the write") from error
        if any(fault.get("code") != _DUPLICATE for fault in faults):
            raise
        return [int(fault["index"]) for fault in faults]
    return []


def _is_refusal(error: OperationFailure) -> bool:
    return error.code in {13, 18, 8000}


def _cause(error: PyMongoError) -> str:
    if isinstance(error, ServerSelectionTimeoutError | NetworkTimeout | ExecutionTimeout):
        reason = re.split(r"[,;]? ?(?:Timeout: |Topology Description|\(configured)", str(error))[0]
        return f"no answer in time ({reason.strip()[:200]})"
    if isinstance(error, OperationFailure) and _is_refusal(error):
        return "access refused; check user, password, authSource and the rights to create indexes"
    if isinstance(error, InvalidURI | ConfigurationError):
        return "its URL is not valid; user and password must be percent-escaped"
    return f"{type(error).__name__}: {str(error)[:200]}"


def _without_secret(error: PyMongoError, settings: Settings) -> PyMongoError | None:
    """The cause to chain, unless it would repeat the URL."""
    password = urlsplit(settings.database_url).password
    return None if password and password in str(error) else error
