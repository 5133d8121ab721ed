"""Progress: to be seen soon rather than kept for ever, so one member's memory is enough."""

from collections.abc import Sequence

from pymongo import UpdateOne, WriteConcern
from pymongo.collection import Collection

from worchflow_celery.models import Progress
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Claim, Document


class Reports:
    """The field ``progress`` of executions that run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, reports: Sequence[tuple[Claim, Progress]]) -> None:
        """Write how far executions are, in one command; not of those that are not ours any more."""
        changes = [
            UpdateOne(_held(claim), {"$set": {"progress": progress.model_dump()}})
            for claim, progress in reports
        ]
        if changes:
            with translated(self._database.settings):
                self._collection.bulk_write(changes, ordered=False)

    @property
    def _collection(self) -> "Collection[Document]":
        executions = self._database.collection("executions")
        return executions.with_options(write_concern=WriteConcern(w=1, j=False))


def _held(claim: Claim) -> Document:
    return {
        "_id": claim.id,
        "epoch": claim.epoch,
        "owner.token": claim.token,
        "status": "processing",
    }
