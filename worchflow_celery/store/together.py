"""Inserts of a process's threads, sent as one where they meet: each hears of its own alone."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, OperationFailure

from worchflow_celery.store import writes

Document = dict[str, Any]

#: Documents that are sent as one at most, and about so many characters of results in them.
MOST, _LARGEST = 100, 4_000_000


class Together:
    """While a command is under way, those who come meanwhile gather for the next one.

    So they share the command, and the flush of MongoDB's journal that it waits for; who comes
    alone waits for nobody. Nothing depends on there being one at a time: who has waited for
    ``patience`` seconds, because a sender was ended in the middle, sends for itself. A document
    may then be sent twice, and whoever inserts it must know its own again.
    """

    def __init__(self, patience: float = 1.0) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._gathered: list[_Insert] = []
        self._under_way = False

    def __len__(self) -> int:
        """How many wait for the next command."""
        return len(self._gathered)

    def insert(self, collection: "Collection[Document]", document: Document) -> None:
        """Insert a document; raises what became of it, such as ``DuplicateKeyError``."""
        own = self._gather(document)
        if own is None:
            try:
                return writes.insert(collection, document)
            finally:
                self._hand_over()
        if not own.ready.acquire(timeout=self._patience):
            self._withdraw(own)
        if own.sends:
            self._send(collection)
        if not own.done:
            writes.insert(collection, document)
        elif own.error is not None:
            raise own.error

    def _gather(self, document: Document) -> "_Insert | None":
        """Wait for the next command; ``None``: none is under way, so that this is the next."""
        with self._lock:
            if not self._under_way:
                self._under_way = True
                return None
            self._gathered.append(own := _Insert(document))
            return own

    def _send(self, collection: "Collection[Document]") -> None:
        """Send what has gathered, tell everybody of it, and let the next one send."""
        batch = self._take()
        errors: Mapping[int, Exception] = {}
        done = False
        try:
            if batch:
                errors = writes.insert_all(collection, [one.document for one in batch])
            done = True
        except (ConnectionFailure, OperationFailure) as error:  # the same for all of them
            errors, done = dict.fromkeys(range(len(batch)), error), True
        except Exception:  # one that cannot be encoded: let each find out whether it is its own
            pass
        finally:  # also when this thread is ended in the middle
            for number, one in enumerate(batch):
                one.error, one.done = errors.get(number), done
                one.tell()
            self._hand_over()

    def _take(self) -> "list[_Insert]":
        with self._lock:
            size, count = 0, 0
            for one in self._gathered[:MOST]:
                size += len(one.document.get("result", ""))
                if count and size > _LARGEST:
                    break
                count += 1
            batch, self._gathered = self._gathered[:count], self._gathered[count:]
            return batch

    def _hand_over(self) -> None:
        with self._lock:
            self._under_way = bool(self._gathered)
            if self._gathered:
                self._gathered[0].sends = True
                self._gathered[0].tell()

    def _withdraw(self, own: "_Insert") -> None:
        with self._lock:
            if own in self._gathered:
                self._gathered.remove(own)
            own.sends = self._under_way = False


class _Insert:
    """A document, and what has become of it."""

    __slots__ = ("document", "done", "error", "ready", "sends")

    def __init__(self, document: Document) -> None:
        self.document = document
        #: Whose turn it is to send what has gathered.
        self.sends = False
        #: It was sent, and this is what was said of it.
        self.done = False
        self.error: Exception | None = None
        self.ready = threading.Lock()
        self.ready.acquire()

    def tell(self) -> None:
        """Let its thread go on."""
        with suppress(RuntimeError):  # it has gone on already, out of patience
            self.ready.release()
