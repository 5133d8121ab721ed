"""The indexes of executions: few, for each transition of an execution rewrites those it touches."""

from collections.abc import Iterable
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from worchflow_celery.errors import StoreUnavailable

_INDEX_CONFLICTS = {85, 86}
_NEWEST = [("created_at", DESCENDING), ("_id", DESCENDING)]
_FINISHED = {"finished_at": {"$exists": True}}

EXECUTION_INDEXES = [
    # What the dispatcher sweeps: unfinished executions only, so that history costs it nothing.
    # Epoch and publishes keep a backlog of new executions apart from what was on a worker before.
    IndexModel(
        [
            ("queue", ASCENDING),
            ("status", ASCENDING),
            ("epoch", ASCENDING),
            ("publishes", ASCENDING),
            ("due_at", ASCENDING),
        ],
        name="due",
        partialFilterExpression={"due_at": {"$exists": True}},
    ),
    IndexModel(_NEWEST, name="newest"),
    IndexModel([("flow", ASCENDING), *_NEWEST], name="newest_of_flow"),
    # Of finished ones only: written once, when an execution ends. Its end comes last, so that they
    # are counted without their documents.
    IndexModel(
        [("status", ASCENDING), *_NEWEST, ("finished_at", ASCENDING)],
        name="finished",
        partialFilterExpression=_FINISHED,
    ),
    # Likewise; roll-ups are counted out of this index alone, without the documents.
    IndexModel(
        [
            ("finished_at", ASCENDING),
            ("flow", ASCENDING),
            ("status", ASCENDING),
            ("started_at", ASCENDING),
            ("created_at", ASCENDING),
        ],
        name="ended",
        partialFilterExpression=_FINISHED,
    ),
    IndexModel(
        [("flow", ASCENDING), ("status", ASCENDING), *_NEWEST, ("finished_at", ASCENDING)],
        name="finished_of_flow",
        partialFilterExpression=_FINISHED,
    ),
    # Unfinished ones, so that the last of a thousand is found to be the last at no cost.
    IndexModel(
        [("parent.id", ASCENDING), ("parent.key", ASCENDING)],
        name="children",
        partialFilterExpression={"parent.id": {"$exists": True}, "due_at": {"$exists": True}},
    ),
    # Of waiting ones only: who has waited longest for the same thing.
    IndexModel(
        [("awaits", ASCENDING), ("created_at", ASCENDING)],
        name="awaited",
        partialFilterExpression={"awaits": {"$exists": True}},
    ),
    IndexModel(
        [("follow_up_at", ASCENDING)],
        name="follow_up",
        partialFilterExpression={"follow_up_at": {"$exists": True}},
    ),
    IndexModel(
        [("expires_at", ASCENDING)],
        name="expired",
        partialFilterExpression={"expires_at": {"$exists": True}},
    ),
]


def search_indexes(fields: Iterable[str]) -> list[IndexModel]:
    """The indexes of a flow's ``search`` fields."""
    return [
        IndexModel(
            [(f"search.{field}", ASCENDING), *_NEWEST],
            name=f"search_{field}",
            partialFilterExpression={f"search.{field}": {"$exists": True}},
        )
        for field in fields
    ]


def create_indexes(collection: "Collection[dict[str, Any]]", models: list[IndexModel]) -> None:
    """Make indexes; raises ``StoreUnavailable`` naming one that exists with other options."""
    try:
        collection.create_indexes(models)
    except OperationFailure as error:
        if error.code in _INDEX_CONFLICTS:
            raise StoreUnavailable(
                f"an index of {collection.full_name} exists with other options "
                f"({error.details.get('errmsg') if error.details else error}): drop that index, "
                "then start again"
            ) from None
        raise
