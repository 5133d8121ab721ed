"""What is sent to composed flows: executions, some of which are to fail, and their signals."""

import random
from contextlib import suppress

from tests.acceptance.meddling import Meddler
from tests.acceptance.stage import Stage
from tests.support import eventually
from worchflow_celery.errors import InvalidTransition

#: They are sent one after the other, so that they come up against their limits.
LIMITED = ("limited", "paced")
OTHERS = ("race", "trip", "repair", "order", "family", "bulk", "tasks", "booking", "swarm")
FLOWS = LIMITED + OTHERS
FAILS = ("handler", None, "child", None)


def begin(stage: Stage, each: int) -> list[str]:
    """Send so many of each flow; return their ids."""
    limited = [(flow, number) for flow in LIMITED for number in range(each)]
    others = [(flow, number) for number in range(each) for flow in OTHERS]
    return [
        str(stage.send(flow, {"number": number, "fails": fails(number)}, id=f"{flow}-{number}"))
        for flow, number in limited + others
    ]


def fails(number: int) -> str | None:
    """What fails in the booking of this number."""
    return FAILS[number % len(FAILS)]


def signals(chance: random.Random, each: int) -> list[tuple[str, str, str]]:
    """What all orders get, shuffled: the two approvals that each needs, its choice twice."""
    found = []
    for number in range(each):
        choice = chance.choice(("pay", "drop"))
        for name, which in (("approve", 1), ("approve", 2), (choice, 1), (choice, 2)):
            found.append((f"order-{number}", name, f"{name}-{which} of order-{number}"))
    chance.shuffle(found)
    return found


def deliver(stage: Stage, late: list[tuple[str, str, str]], count: int) -> list[str]:
    """Send so many of the signals that are left; return the payloads of those accepted."""
    accepted = []
    for _ in range(min(count, len(late))):
        execution_id, name, payload = late.pop()
        with suppress(InvalidTransition):  # it did not need the second choice
            stage.worchflow.signal(execution_id, name, payload)
            accepted.append(payload)
    return accepted


def finish(stage: Stage, meddler: Meddler) -> None:
    """Wait until nothing is left to do."""
    executions = stage.collection("executions")
    unfinished = {"status": {"$nin": ["completed", "failed", "cancelled"]}}
    meddler.end()

    def is_over() -> bool:
        meddler.see_to_the_rest()
        return meddler.has_done_all and not executions.count_documents(unfinished)

    try:
        eventually(is_over, within=60)
    except AssertionError as error:
        left = list(executions.find(unfinished))
        raise AssertionError(f"{error}\n{left}\n{stage.log()[-20000:]}") from None
