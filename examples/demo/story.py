"""What happens in the demo, in its order."""

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from examples.demo import effects, place, stopping
from examples.demo.effects import Effect
from examples.demo.flows import Payment, app, process_payment, worchflow
from examples.demo.place import Place
from examples.demo.proof import Evidence
from examples.demo.screen import Screen
from examples.demo.timeline import Timeline
from examples.demo.workers import COMMAND, Worker
from worchflow_celery import Execution

STEPS = ("Validate payment", "Charge card", "Send receipt")
PAYMENTS = {
    "pay-1": Payment(1990, "Ada"),
    "pay-2": Payment(4500, "Grace"),
    "pay-3": Payment(1250, "Edsger"),
    "pay-4": Payment(9900, "Barbara"),
}
#: Seconds after each payment: the kill meets the first two in different steps.
PAUSES = (0.8, 0.4, 0.2, 0.2)
#: Seconds into the step until the kill.
INTO_THE_STEP = 0.3
#: Seconds until something that should happen counts as failed, on a slow machine.
PATIENCE = 30.0
LOOK_EVERY = 0.05


class Stuck(RuntimeError):
    """What should have happened has not."""


class Story:
    """One telling: its workers, its timeline, and what they leave behind."""

    def __init__(self, screen: Screen, timeline: Timeline, where: Place) -> None:
        place.move_in(app)
        self._screen = screen
        self._timeline = timeline
        self._directory = where.directory
        self._log = where.directory / "effects.log"
        self._workers: list[Worker] = []
        self._sent: list[str] = []
        self._effects: list[Effect] = []
        self._executions: list[Execution] = []
        self._lease = worchflow.settings.lease_ttl

    def tell(self) -> Evidence:
        """Send payments, kill their worker inside a step, start another one, wait for the end."""
        os.environ[effects.LOG] = str(self._log)
        doomed = self._start("A", processes=2)
        for payment, pause in zip(PAYMENTS, PAUSES, strict=True):
            self._send(payment)
            self._pause(pause)
        self._expect(lambda: self._told("begin", "pay-1:Send receipt"), "a receipt for pay-1")
        self._pause(INTO_THE_STEP)
        killed_at = self._kill(doomed)
        self._start("B", processes=4)
        replaced_at = self._told("ready", worker="B")[0].at
        self._wait(self._all_ended)  # those that have not are for the proof to tell
        self._timeline.finish()
        return Evidence(
            sent=tuple(self._sent),
            steps_each=len(STEPS),
            executions=self._executions,
            steps=[step for id in self._sent for step in worchflow.steps(id)],
            effects=effects.read(self._log),
            killed_at=killed_at,
            replaced_at=replaced_at,
            lease=self._lease,
        )

    def end(self) -> None:
        """End what was started."""
        stopping.finish()
        self._screen.close()
        while self._workers:
            self._workers.pop().kill()
        worchflow.close()

    def _start(self, name: str, *, processes: int) -> Worker:
        self._timeline.say(f"worker {name}", f"starts: {COMMAND} -c {processes}")
        worker = Worker(name, self._directory, processes=processes)
        self._workers.append(worker)
        self._expect(lambda: self._told("ready", worker=name), f"worker {name} to be ready")
        return worker

    def _send(self, payment: str) -> None:
        process_payment.send(PAYMENTS[payment], id=payment)
        self._sent.append(payment)
        self._timeline.say(payment, "sent")

    def _kill(self, worker: Worker) -> datetime:
        self._workers.remove(worker)
        at = datetime.now(UTC)
        worker.kill()
        self._look()
        inside = [f"{one.execution} in {one.step}" for one in self._last() if one.what == "begin"]
        self._timeline.say(
            f"worker {worker.name}",
            "KILLED with SIGKILL, and all of its processes",
            "alarm",
            f"inside a step: {', '.join(inside) or 'none'}",
            f"nobody else may run these before their lease of {self._lease:g} s is over",
            f"waiting in line: {', '.join(self._with_status('queued')) or 'none'}",
        )
        return at

    def _last(self) -> Iterable[Effect]:
        """The last thing that each payment did."""
        return {one.execution: one for one in self._effects if one.key}.values()

    def _with_status(self, status: str) -> list[str]:
        return [one.id for one in self._executions if one.status == status]

    def _all_ended(self) -> bool:
        return all(execution.status.finished for execution in self._executions)

    def _told(self, what: str, key: str = "", *, worker: str | None = None) -> list[Effect]:
        return [
            one
            for one in self._effects
            if (one.what, one.key) == (what, key) and worker in (None, one.worker)
        ]

    def _expect(self, condition: Callable[[], object], what: str) -> None:
        if not self._wait(condition):
            raise Stuck(f"waited {PATIENCE:g} s in vain for {what}")

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= until)

    def _wait(self, condition: Callable[[], object]) -> bool:
        """Watch until the condition is true, or patience is at an end."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY)
            stopping.check()
            for worker in self._workers:
                worker.check()
            self._look()
        return True

    def _look(self) -> None:
        now = datetime.now(UTC)
        self._effects = effects.read(self._log)
        self._executions = [worchflow.get(id) for id in self._sent]
        self._timeline.look(self._effects, self._executions)
        self._timeline.write(until=now)
        states = dict.fromkeys(one.status for one in self._executions)
        shown = " · ".join(f"{one}: {', '.join(self._with_status(one))}" for one in states)
        self._screen.status(f"{self._timeline.seconds(now):7.1f}  {shown}")
