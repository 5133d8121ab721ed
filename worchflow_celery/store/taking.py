"""How the document of a limit's slots changes: the stages of its updates, evaluated by MongoDB."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from worchflow_celery.allowance import SLOT, START, Limit
from worchflow_celery.store.records import Document
from worchflow_celery.store.writes import Pipeline

#: A start that is further ahead than this was written before MongoDB's clock was set back.
_AHEAD = 5_000
#: How long a document that holds nothing is kept, beyond the window.
_KEPT = 60_000
#: What becomes of an execution that found no slot: what it was before the claim, but for its epoch.
UNBEGUN: Document = {
    "attempt": {
        "$cond": [
            {"$and": [{"$eq": ["$attempt", 1]}, {"$eq": ["$attempt_epoch", "$epoch"]}]},
            0,
            "$attempt",
        ]
    },
    "started_at": {
        "$cond": [{"$eq": ["$started_at", "$attempt_started_at"]}, "$$REMOVE", "$started_at"]
    },
}


def milliseconds(duration: timedelta) -> int:
    """A duration as MongoDB adds it to a date; never nothing."""
    return max(1, round(duration / timedelta(milliseconds=1)))


def kept(limit: Limit, now: Any = "$$NOW") -> Pipeline:
    """The first stage of every change: what a document has, without starts that are past."""
    recent = {
        "$and": [
            {"$gt": ["$$one.at", {"$subtract": [now, milliseconds(limit.window)]}]},
            {"$lt": ["$$one.at", {"$add": [now, _AHEAD]}]},
        ]
    }
    starts: Any = [] if limit.starts is None else _those({"$ifNull": ["$starts", []]}, recent)
    present: Document = {
        "flow": {"$literal": limit.flow},
        "key": {"$literal": limit.key},
        "holders": {"$ifNull": ["$holders", []]},
        "lines": {"$ifNull": ["$lines", []]},
        "starts": starts,
    }
    return [{"$set": present}]


def entered(
    limit: Limit, entry: Document, *, start: bool, patient: bool, now: Any = "$$NOW"
) -> Pipeline:
    """Make an execution a holder, if the limits allow it.

    ``patient``: it takes its slot now, if nobody waits. Else it has waited: it is set aside.
    """
    own = entry | {"execution": {"$literal": entry["execution"]}}
    a_start_is_all = patient and limit.at_once is None
    with_it: Any = "$others" if a_start_is_all else {"$concatArrays": ["$others", [own]]}
    change: Document = {"holders": {"$cond": ["$granted", with_it, "$holders"]}}
    if start and patient:
        counts = {"$and": ["$granted", {"$not": ["$started"]}]}
        begins = {"execution": own["execution"], "epoch": entry["epoch"], "at": now}
        change["starts"] = {"$concatArrays": ["$starts", {"$cond": [counts, [begins], []]}]}
    granted = _granted(limit, entry["epoch"], start=start, patient=patient)
    return [
        *kept(limit, now),
        {"$set": _seen(own)},
        {"$set": {"granted": granted}},
        {"$set": change},
        {"$unset": ["mine", "others", "started", "granted"]},
        fields_of(limit),
    ]


def left(limit: Limit, holders: Iterable[tuple[str, int]]) -> Pipeline:
    """Take slots from their holders."""
    gone = [{"$literal": [execution, epoch]} for execution, epoch in holders]
    stays = {"$not": [{"$in": [["$$one.execution", "$$one.epoch"], gone]}]}
    change: Document = {"holders": _those("$holders", stays)}
    return [*kept(limit), {"$set": change}, fields_of(limit)]


def fields_of(limit: Limit) -> Document:
    """The last stage of every change: when to look at the document, and when to remove it."""
    idle = {"$and": [{"$eq": ["$holders", []]}, {"$eq": ["$lines", []]}]}
    removal = {"$add": ["$$NOW", milliseconds(limit.window) + _KEPT]}
    fields: Document = {"expires_at": {"$cond": [idle, removal, "$$REMOVE"]}}
    if limit.starts is not None:
        opens = {"$add": [{"$min": "$starts.at"}, milliseconds(limit.window)]}
        sooner = {"$min": ["$look_at", opens]}
        fields["look_at"] = {"$cond": [{"$in": [START, "$lines"]}, sooner, "$look_at"]}
    return {"$set": fields}


def _seen(own: Document) -> Document:
    """What a document has of an execution, and what of others."""
    same = {"$eq": ["$$one.execution", own["execution"]]}
    begun = {"$and": [same, {"$eq": ["$$one.epoch", own["epoch"]]}]}
    return {
        "mine": _those("$holders", same),
        "others": _those("$holders", {"$not": [same]}),
        "started": _some(_those("$starts", begun)),
    }


def _granted(limit: Limit, epoch: int, *, start: bool, patient: bool) -> Document:
    """Whether an execution may go on: never past a later claim of itself."""
    room: list[Any] = []
    if limit.at_once is not None:
        room.append({"$lt": [{"$size": "$holders"}, limit.at_once]})
    if patient:
        ahead = [SLOT, START] if start else [SLOT]
        room.append({"$eq": [{"$setIntersection": ["$lines", ahead]}, []]})
    fits: list[Any] = [
        {"$not": [{"$gt": [{"$max": "$mine.epoch"}, epoch]}]},
        {"$or": [_some("$mine"), "$started", {"$and": room}]},
    ]
    if start:
        set_aside = {"$size": _those("$holders", "$$one.start")}
        taken = {"$add": [{"$size": "$starts"}, set_aside]}
        is_open = {"$lt": [taken, limit.starts]}
        fits.append({"$or": ["$started", {"$in": [True, "$mine.start"]}, is_open]})
    return {"$and": fits}


def _those(values: Any, condition: Any) -> Document:
    return {"$filter": {"input": values, "as": "one", "cond": condition}}


def _some(values: Any) -> Document:
    return {"$gt": [{"$size": values}, 0]}
