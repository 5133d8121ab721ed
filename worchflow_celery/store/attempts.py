"""Who may work on an execution: claim, renew, settle. Every write is fenced by epoch and token."""

from collections.abc import Collection as Many

from pymongo.collection import Collection
from pymongo.errors import DocumentTooLarge, OperationFailure

from worchflow_celery.clock import EPOCH
from worchflow_celery.errors import CorruptDocument, PayloadTooLarge
from worchflow_celery.store import writes
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import later, literal
from worchflow_celery.store.pauses import NOT_PAUSED
from worchflow_celery.store.records import Claim, Document, Owner, claim_of
from worchflow_celery.store.settlements import Settlement, fields_of

#: Codes of MongoDB for a document, or a message, that grew too large.
_TOO_LARGE = {10334, 17419, 17420}


class Attempts:
    """The transitions from and to ``processing``; each method is one atomic write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, execution_id: str, flow: str, token: str, owner: Owner, *, early: bool = False
    ) -> Claim | None:
        """Take an execution that is due; ``None``: it is not, or somebody has it.

        ``early`` takes it although its delay is not over. ``token`` is fresh and random. One
        whose document cannot be read fails, and raises ``CorruptDocument``.
        """
        query: Document = {
            "_id": {"$eq": execution_id},
            "flow": {"$eq": flow},
            "status": {"$in": ["queued", "retrying", "waiting"]},
            **NOT_PAUSED,
        }
        if not early:
            query["$expr"] = {"$lte": [{"$ifNull": ["$not_before", EPOCH]}, "$$NOW"]}
        change = self._claimed(token, owner)
        with translated(self._database.settings):
            document = writes.find_and_update(
                self._collection, query, [{"$set": change}], _CLAIM_FIELDS
            )
        try:
            return claim_of(document) if document else None
        except CorruptDocument as error:
            self._give_up(execution_id, token, error)
            raise

    def claimed(self, execution_id: str, token: str) -> Claim | None:
        """The claim with this token, when the answer to ``claim`` was lost."""
        with translated(self._database.settings):
            document = self._collection.find_one(
                {"_id": {"$eq": execution_id}, "owner.token": token, "status": "processing"},
                _CLAIM_FIELDS,
            )
        return claim_of(document) if document else None

    def renew(self, claims: Many[Claim]) -> set[str]:
        """Renew leases, also those that ran out while nobody took them.

        Returns the tokens of those that are lost.
        """
        tokens = {claim.token for claim in claims}
        query = {
            "_id": {"$in": [claim.id for claim in claims]},
            "owner.token": {"$in": list(tokens)},
            "status": "processing",
        }
        renewed = {"beat": {"$add": ["$beat", 1]}, "due_at": later(self._lease_ttl)}
        with translated(self._database.settings):
            answer = self._collection.update_many(query, [{"$set": renewed}])
            if answer.matched_count == len(tokens):
                return set()
            held = self._collection.find(query, {"owner.token": 1})
            return tokens - {document["owner"]["token"] for document in held}

    def asked(self, claims: Many[Claim]) -> dict[str, str]:
        """What somebody asked of executions, by the tokens of their claims."""
        query = {"_id": {"$in": [claim.id for claim in claims]}, "asked": {"$exists": True}}
        tokens = {claim.token for claim in claims}
        with translated(self._database.settings):
            found = list(self._collection.find(query, {"asked": 1, "owner.token": 1}))
        asked = {document["owner"]["token"]: str(document["asked"]) for document in found}
        return {token: what for token, what in asked.items() if token in tokens}

    def holds(self, claim: Claim) -> bool:
        """Whether a claim still stands, whatever this process believes."""
        with translated(self._database.settings):
            return self._collection.find_one(held(claim), {"_id": 1}) is not None

    def note_step(self, claim: Claim, key: str) -> None:
        """Note which step is about to run, for an execution that keeps killing its workers."""
        with translated(self._database.settings):
            self._collection.update_one(held(claim), {"$set": {"current_step": key}})

    def settle(self, claim: Claim, settlement: Settlement, *, again: bool = False) -> bool:
        """End an attempt; ``False``: nothing was written, for the lease was lost.

        Or somebody asked to cancel the execution, and this is another end. ``again`` says that
        the answer to the same call was lost. Raises ``PayloadTooLarge`` when data, result and
        attempts together exceed what MongoDB keeps in one document.
        """
        query = held(claim)
        if settlement.status != "cancelled" and not settlement.unwound:
            query["asked"] = {"$ne": "cancel"}
        if settlement.awaits:
            query["calls"] = claim.calls or None
        with translated(self._database.settings):
            settled = self._write_end(query, settlement)
            if settled or not again:
                return settled
            # Ours if the token is still there: whoever comes next raises the epoch first.
            mine = {
                "_id": claim.id,
                "epoch": claim.epoch,
                "owner.token": claim.token,
                "status": settlement.status,
            }
            return self._collection.find_one(mine, {"_id": 1}) is not None

    def _write_end(self, query: Document, settlement: Settlement) -> bool:
        change = fields_of(settlement)
        if settlement.progress is not None:
            change["progress"] = literal(settlement.progress.model_dump())
        try:
            return writes.update(self._collection, query, [{"$set": change}])
        except (DocumentTooLarge, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code not in _TOO_LARGE:
                raise
            raise PayloadTooLarge(
                f"data and result of execution {query['_id']!r} do not fit into one MongoDB "
                "document of 16 MiB: store them elsewhere and return a reference"
            ) from None

    def _give_up(self, execution_id: str, token: str, error: CorruptDocument) -> None:
        """Fail an execution that nobody can run, or it would be taken again for ever."""
        failure = {"type": "CorruptDocument", "message": str(error)}
        now = self._database.now()
        change = {"status": "failed", "error": failure, "finished_at": now, "updated_at": now}
        query = {"_id": {"$eq": execution_id}, "owner.token": token, "status": "processing"}
        with translated(self._database.settings):
            self._collection.update_one(query, {"$set": change, "$unset": {"due_at": ""}})
            awaited = {"_id": {"$eq": execution_id}, "status": "failed", "parent.waits": True}
            self._collection.update_one(awaited, {"$set": {"follow_up_at": now}})

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")

    @property
    def _lease_ttl(self) -> float:
        return self._database.settings.lease_ttl

    def _claimed(self, token: str, owner: Owner) -> Document:
        new_attempt = {"$or": [{"$eq": ["$status", "retrying"]}, {"$eq": ["$attempt", 0]}]}
        epoch = {"$add": ["$epoch", 1]}
        return {
            "status": "processing",
            "epoch": epoch,
            "attempt": {"$cond": [new_attempt, {"$add": ["$attempt", 1]}, "$attempt"]},
            "attempt_epoch": {"$cond": [new_attempt, epoch, "$attempt_epoch"]},
            "beat": 0,
            "suspect": "$$REMOVE",
            "not_before": "$$REMOVE",
            "awaits": "$$REMOVE",
            "owner": {"$literal": {"token": token, **owner._asdict()}},
            "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
            "attempt_started_at": "$$NOW",
            "updated_at": "$$NOW",
            "due_at": later(self._lease_ttl),
        }


_CLAIM_FIELDS: Document = dict.fromkeys(
    [
        "flow",
        "data",
        "owner",
        "epoch",
        "attempt",
        "attempt_epoch",
        "crashed",
        "created_at",
        "queue",
        "priority",
        "canvas",
        "message",
        "current_step",
        "asked",
        "ending",
        "retried_epoch",
        "calls",
        "depth",
        "parent",
        "admitted",
        "copied",
        "trace",
    ],
    1,
)
_CLAIM_FIELDS["unbegun"] = {"$eq": ["$started_at", "$attempt_started_at"]}


def held(claim: Claim) -> Document:
    """The filter of whatever only the holder of a claim may write."""
    return {
        "_id": claim.id,
        "epoch": claim.epoch,
        "owner.token": claim.token,
        "status": "processing",
    }
