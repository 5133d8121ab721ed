"""Many composed executions, under which workers are killed and people do what they like."""

import os
import random
from dataclasses import dataclass

from tests.acceptance.chronicle import Chronicle
from tests.acceptance.composing import begin, deliver, finish, signals
from tests.acceptance.meddling import Deeds, Meddler
from tests.acceptance.stage import SetUp, Stage
from tests.support import Worker, eventually

#: Another one may be given.
SEED = int(os.environ.get("TEST_SEED", "4711"))
#: Executions of each flow; with their children, all are twenty times as many.
EACH = 10
#: Of the workers, which come one after the other while those before them are killed.
POOLS = ("prefork", "threads") * 4
KILLS = 6
#: Effects between two kills, about.
APART = 90


@dataclass(frozen=True)
class World:
    told: Chronicle
    #: Ids as they were sent.
    sent: list[str]
    done: Deeds

    @property
    def harmed(self) -> set[str]:
        """Executions that lost a worker, or were paused."""
        lost = {one.id for one in self.told.read.values() if one.crashes}
        return lost | {one for one, *_ in self.done.paused}


def world_of(set_up: SetUp, seed: int) -> World:
    with set_up(TEST_LEASE="2", TEST_COMPOSED="yes") as stage:
        return play(stage, random.Random(seed))


def play(stage: Stage, chance: random.Random) -> World:
    meddler = Meddler(stage, chance, EACH, KILLS)
    sent = begin(stage, EACH)
    meddler.begin()
    late = signals(chance, EACH)
    share = len(late) // (KILLS + 2)
    deliver(stage, late, 2 * share)
    workers = [start(stage, number).ready() for number in range(2)]
    for number in range(KILLS):
        wait_for_effects(stage, APART * number + chance.randrange(20, APART))
        meddler.act()
        workers[number].kill()
        workers.append(start(stage, number + 2))
        deliver(stage, late, share)
    deliver(stage, late, len(late))
    finish(stage, meddler)
    return World(Chronicle.of(stage), sent, meddler.deeds)


def start(stage: Stage, number: int) -> Worker:
    return stage.worker(f"worker-{number}", "-P", POOLS[number], "-c", "4")


def wait_for_effects(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.diary.lines()) >= count, within=60, what=f"{count} effects")
