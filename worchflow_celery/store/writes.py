"""The writes of each step and attempt, as plain commands: confirmed by a majority, sent once.

The driver's own methods let the server keep a record of each write, so that they can send it again
when its answer was lost. That record is a second write. Those who write here know by other means
what became of a lost answer: a checkpoint by its key, a claim by its token.
"""

from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, WriteConcernError, WriteError, WTimeoutError

Document = dict[str, Any]
Pipeline = list[Document]

_DUPLICATE = 11000
_NOT_IN_TIME = 64


def insert(collection: "Collection[Document]", document: Document) -> None:
    """Insert a document; raises ``DuplicateKeyError``."""
    _run(collection, {"insert": collection.name, "documents": [document]})


def insert_all(
    collection: "Collection[Document]", documents: list[Document]
) -> dict[int, Exception]:
    """Insert documents, each for itself; return what refused some, by their places."""
    command: Document = {"insert": collection.name, "documents": documents, "ordered": False}
    return _errors(_answer(collection, command))


def update(collection: "Collection[Document]", query: Document, change: Pipeline) -> bool:
    """Change a document; ``False``: none matches."""
    updates = [{"q": query, "u": change}]
    return bool(_run(collection, {"update": collection.name, "updates": updates})["n"])


def find_and_update(
    collection: "Collection[Document]",
    query: Document,
    change: Pipeline,
    fields: Document,
    *,
    upsert: bool = False,
) -> Document | None:
    """Change a document and return what it is then; ``None``: none matches."""
    command: Document = {"findAndModify": collection.name, "query": query, "update": change}
    if upsert:
        command["upsert"] = True
    found: Document | None = _run(collection, {**command, "new": True, "fields": fields})["value"]
    return found


def _run(collection: "Collection[Document]", command: Document) -> Document:
    answer = _answer(collection, command)
    for error in _errors(answer).values():
        raise error
    return answer


def _errors(answer: Document) -> dict[int, Exception]:
    found: dict[int, Exception] = {}
    for error in answer.get("writeErrors", ()):
        kind = DuplicateKeyError if error["code"] == _DUPLICATE else WriteError
        found[error["index"]] = kind(error["errmsg"], error["code"], error)
    return found


def _answer(collection: "Collection[Document]", command: Document) -> Document:
    """Raises ``WriteConcernError`` for what is written, and may yet be undone."""
    concern = collection.write_concern.document
    answer: Document = collection.database.command(
        {**command, "writeConcern": concern}, codec_options=collection.codec_options
    )
    unconfirmed = answer.get("writeConcernError")
    if unconfirmed:
        kinds = WTimeoutError if unconfirmed["code"] == _NOT_IN_TIME else WriteConcernError
        raise kinds(unconfirmed["errmsg"], unconfirmed["code"], unconfirmed)
    return answer
