"""What people do to executions while workers are killed under them, by one seed."""

import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from tests.acceptance.stage import Stage
from worchflow_celery.clock import utcnow
from worchflow_celery.errors import InvalidOption, InvalidTransition

#: Flows of which some are paused for a while.
PAUSED = ("order", "family", "bulk", "tasks", "booking", "limited", "swarm", "repair")
#: Flows of which some are started again, from these steps.
RESTARTED = (
    *(("family", "many"), ("family", "end"), ("bulk", "last"), ("swarm", "one")),
    *(("booking", "museum"), ("repair", "hotel"), ("order", "close")),
)


@dataclass
class Deeds:
    """What was done."""

    #: The statuses in which trips were cancelled, one by one and all at once.
    cancelled_in: Counter[str] = field(default_factory=Counter)
    #: Of each race, whether its cancellation was accepted.
    accepted: dict[str, bool] = field(default_factory=dict)
    #: From when to when each was paused.
    paused: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    #: What was started again, by its new id.
    restarted: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: How many were put back in line, one by one and all at once.
    retried: Counter[str] = field(default_factory=Counter)


class Meddler:
    """Does a share of it in each round, and what is left in the end."""

    def __init__(self, stage: Stage, chance: random.Random, each: int, rounds: int) -> None:
        self.deeds = Deeds()
        self._stage, self._worchflow = stage, stage.worchflow
        self._chance, self._each, self._rounds = chance, each, rounds
        self._trips = [f"trip-{number}" for number in chance.sample(range(each), each)]
        self._restarts = [(f"{flow}-{chance.randrange(each)}", key) for flow, key in RESTARTED]
        self._held: list[tuple[str, datetime]] = []
        self._pool = ThreadPoolExecutor(1)
        self._races: Future[None] = self._pool.submit(self._cancel_races, chance.random())

    def begin(self) -> None:
        """Before anything has run."""
        self._cancel_trip(self._trips[0])

    def act(self) -> None:
        """One round."""
        self._resume()
        for flow in self._chance.sample(PAUSED, 4):
            self._pause(f"{flow}-{self._chance.randrange(self._each)}")
        for _ in range(self._each // (self._rounds + 2)):
            running = [one for one in self._trips if self._status(one) == "processing"]
            self._cancel_trip((running or self._trips)[0])
        for number in self._chance.sample(range(self._each), 2):
            with suppress(InvalidTransition):  # it has not failed yet
                self._worchflow.retry(f"repair-{number}")
                self.deeds.retried["one"] += 1
        self._restart()

    def end(self) -> None:
        """What is left: all that nobody would end otherwise."""
        self._resume()
        left = self._worchflow.find(flow="trip", status=["queued", "waiting", "processing"])
        self.deeds.cancelled_in.update(one.status.value for one in left)
        self._worchflow.cancel_all(flow="trip")
        self._stage.open("repaired")

    def see_to_the_rest(self) -> None:
        """Called again and again until all has ended."""
        self.deeds.retried["all"] += self._worchflow.retry_all(flow="repair")
        if self._races.done():
            self._races.result()
            self._pool.shutdown()
            self._worchflow.retry_all(flow="race", status="cancelled")
            self._restart()

    @property
    def has_done_all(self) -> bool:
        return self._races.done() and not self._restarts

    def _status(self, execution_id: str) -> str:
        return self._worchflow.handle(execution_id).status.value

    def _cancel_trip(self, trip: str) -> None:
        self._trips.remove(trip)
        self.deeds.cancelled_in[self._status(trip)] += 1
        self._worchflow.cancel(trip)

    def _pause(self, execution_id: str) -> None:
        with suppress(InvalidTransition):  # it has ended
            if self._worchflow.pause(execution_id).status != "processing":
                self._held.append((execution_id, utcnow()))

    def _resume(self) -> None:
        for execution_id, since in self._held:
            self.deeds.paused.append((execution_id, since, utcnow()))
        for flow in PAUSED:
            for number in range(self._each):
                with suppress(InvalidTransition):
                    self._worchflow.resume(f"{flow}-{number}")
        self._held.clear()

    def _restart(self) -> None:
        """Start those again that have come to their step."""
        for execution_id, key in tuple(self._restarts):
            with suppress(InvalidOption):
                new = str(self._worchflow.restart(execution_id, from_step=key))
                self.deeds.restarted[new] = execution_id, key
                self._restarts.remove((execution_id, key))

    def _cancel_races(self, seed: float) -> None:
        """Cancel each race about when its last step ends."""
        chance = random.Random(seed)
        while len(self.deeds.accepted) < self._each:
            for line in self._stage.diary.lines():
                _, race, key, *_ = line.split()
                if key == "finish" and race not in self.deeds.accepted:
                    time.sleep(chance.uniform(0, 0.1))
                    self.deeds.accepted[race] = self._cancel(race)
            time.sleep(0.01)

    def _cancel(self, execution_id: str) -> bool:
        try:
            self._worchflow.cancel(execution_id)
        except InvalidTransition:
            return False
        return True
