"""Everything that is kept: the only package that speaks to MongoDB."""

from worchflow_celery.store.aftercare import Aftercare
from worchflow_celery.store.attempts import Attempts
from worchflow_celery.store.audit import Audit
from worchflow_celery.store.batches import Batches
from worchflow_celery.store.bulk import Bulk
from worchflow_celery.store.calls import Calls
from worchflow_celery.store.children import Children
from worchflow_celery.store.database import Database
from worchflow_celery.store.endings import Endings
from worchflow_celery.store.executions import Executions
from worchflow_celery.store.logs import Logs
from worchflow_celery.store.lookups import Lookups
from worchflow_celery.store.pauses import Pauses
from worchflow_celery.store.reading import Reading
from worchflow_celery.store.reports import Reports
from worchflow_celery.store.restarts import Restarts
from worchflow_celery.store.rollups import Rollups
from worchflow_celery.store.schedulers import Schedulers
from worchflow_celery.store.schedules import Schedules
from worchflow_celery.store.signals import Signals
from worchflow_celery.store.slots import Slots
from worchflow_celery.store.steps import Steps
from worchflow_celery.store.sweep import Sweep
from worchflow_celery.store.workers import Workers


class Store:
    """The collections of one process, over one client."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.executions = Executions(database)
        self.attempts = Attempts(database)
        self.steps = Steps(database)
        self.sweep = Sweep(database)
        self.calls = Calls(database)
        self.bulk = Bulk(database)
        self.batches = Batches(database)
        self.reports = Reports(database)
        self.restarts = Restarts(database)
        self.pauses = Pauses(database)
        self.endings = Endings(database)
        self.children = Children(database)
        self.signals = Signals(database)
        self.slots = Slots(database)
        self.aftercare = Aftercare(database)
        self.schedules = Schedules(database)
        self.schedulers = Schedulers(database)
        self.lookups = Lookups(database)
        self.reading = Reading(database)
        self.workers = Workers(database)
        self.audit = Audit(database)
        self.logs = Logs(database)
        self.rollups = Rollups(database)
