"""The first minute of development mode: its demo, and three things to try with it."""

from dataclasses import dataclass
from datetime import timedelta

from worchflow_celery.app import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard.waterfall import Waterfall, waterfall
from worchflow_celery.demo import DEMO, FIRST, TRIALS, Trial
from worchflow_celery.models import Execution

#: Newest executions of the demo that are looked at.
_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Card:
    """A thing to try, and the last execution that did."""

    trial: Trial
    done: Execution | None

    @property
    def text(self) -> str:
        """What is sent."""
        return self.trial.order.model_dump_json()


@dataclass(frozen=True, slots=True)
class Tour:
    """What is shown above the executions."""

    flow: str
    cards: list[Card]
    #: The execution that the demo begins with, over time.
    first: Execution | None
    fall: Waterfall | None
    #: Whether the app has flows of its own.
    own: bool

    @property
    def took(self) -> timedelta | None:
        """For how long the first execution ran, once it has ended."""
        one = self.first
        if one is None or one.started_at is None or one.finished_at is None:
            return None
        return one.finished_at - one.started_at

    @property
    def next(self) -> Card | None:
        """What to try next."""
        return next((card for card in self.cards if not card.done), None)

    @property
    def over(self) -> bool:
        """Whether everything was tried."""
        return self.next is None


def tour_of(worchflow: Worchflow) -> Tour | None:
    """The tour, if the app has the demo: only development mode gives it one."""
    if DEMO not in worchflow.flows:
        return None
    reading = worchflow.runtime.store.reading
    rows = reading.rows({"flow": {"$eq": DEMO}}, limit=_LOOKED_AT).rows
    tried = [row.execution for row in rows if row.execution.id != FIRST]
    cards = [
        Card(trial, next((one for one in tried if trial.is_of(one.data)), None)) for trial in TRIALS
    ]
    first = next((row.execution for row in reading.by_id(FIRST, 1).rows), None)
    fall = None
    if first is not None:
        fall = waterfall(first, reading.runs(first.id, _LOOKED_AT), utcnow())
    return Tour(DEMO, cards, first, fall, own=len(worchflow.flows) > 1)
