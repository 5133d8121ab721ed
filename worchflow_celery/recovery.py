"""What each worker does beside its tasks: put back in line whatever is due.

The dispatcher is a thread of the worker's main process. It needs neither beat nor a leader: any
number of them sweep side by side, and each message has one winner.
"""

import logging
import os
import random
import secrets
import threading
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import bootsteps, signals
from celery.worker.request import Request
from celery.worker.state import task_ready
from kombu import Exchange, Queue

from worchflow_celery import dispatch, limits, termination
from worchflow_celery.clock import elapsed
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.heartbeat import Heartbeat
from worchflow_celery.publisher import HEADER, express_queue
from worchflow_celery.runtime import Runtime, host, runtime_of
from worchflow_celery.shutdown import Phase
from worchflow_celery.store.records import Due
from worchflow_celery.store.sweep import BATCH, Scope

logger = logging.getLogger(__name__)

#: Seconds between two sweeps, less some jitter; also how far ahead a sweep looks.
_SWEEP = 1.0
#: Seconds for which the depth of a queue is believed.
_DEPTH_FOR = 3.0
#: Seconds between two looks at what Celery has to go on with, and at what is to be removed.
_RARELY = 5.0


class Dispatcher(bootsteps.StartStopStep):
    """The worker's bootstep: prepares its queues, and sweeps while it runs."""

    requires = ("celery.worker.components:Pool",)

    #: The commands by which this worker is asked from outside.
    commands = (termination.worchflow_terminate,)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._runtime = runtime_of(worker.app)
        self._runtime.shutdown.share()  # before the pool forks
        self._runtime.settings  # noqa: B018 - a bad setting is to end the start, with its name
        for name in list(worker.app.amqp.queues.consume_from):
            queue = Queue(express_queue(name), Exchange(""), routing_key=express_queue(name))
            worker.app.amqp.queues.select_add(queue)

    def start(self, worker: Any) -> None:
        """Called when the pool runs."""
        signals.worker_shutting_down.connect(self._shutting_down)
        signals.worker_shutdown.connect(self._has_ended)
        sweeper = Sweeper(self._runtime, worker)
        self._thread = threading.Thread(
            target=self._run, args=(sweeper,), name="worchflow-dispatcher", daemon=True
        )
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """Called before the pool drains."""
        self._runtime.shutdown.begin(max(self._runtime.shutdown.phase, Phase.WARM))
        signals.worker_shutting_down.disconnect(self._shutting_down)
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def terminate(self, worker: Any) -> None:
        """Called instead of ``stop`` when the worker is ended at once."""
        self._runtime.shutdown.begin(Phase.COLD)
        self.stop(worker)

    def _shutting_down(self, how: str = "", **_: Any) -> None:
        self._runtime.shutdown.begin(Phase.WARM if how == "Warm" else Phase.COLD)

    def _has_ended(self, **_: Any) -> None:
        """The pool has drained; the process may live on, when a test runs a worker in it."""
        if self._stop.is_set():
            signals.worker_shutdown.disconnect(self._has_ended)
            self._runtime.shutdown.end()

    def _run(self, sweeper: "Sweeper") -> None:
        pause, troubled = 0.0, False
        while not self._stop.wait(pause):
            pause = _SWEEP * random.uniform(0.6, 1.0)
            try:
                pause = min(pause, sweeper.sweep())
                troubled = False
            except StoreUnavailable as error:
                if not troubled:
                    logger.warning("Nothing is recovered for now: %s", error)
                troubled = True
            except Exception:  # this thread must survive whatever one sweep meets
                logger.exception("A sweep failed")
        sweeper.heartbeat.stop()


class Sweeper:
    """One dispatcher's view: the queues that its worker consumes, the flows that it knows."""

    def __init__(self, runtime: Runtime, worker: Any) -> None:
        self._runtime = runtime
        self._worker = worker
        self._depths: dict[str, tuple[float, int]] = {}
        self._rarely_at = 0.0
        self._children: frozenset[int] | None = None
        self.heartbeat = Heartbeat(runtime, worker)

    def sweep(self) -> float:
        """Put back in line what is due; return the seconds until the next look."""
        scope = self._scope()
        sweep = self._runtime.store.sweep
        self._release_orphans(scope)
        found = sweep.look(scope, ahead=_SWEEP)
        ready = [due for due in found.due if not self._waits_for_its_turn(due)] + found.overdue
        if found.silent:
            sweep.suspect(found.silent)
        for execution_id in found.abandoned:
            due = sweep.take_back(execution_id)
            if due is not None:
                logger.warning(
                    "Execution %s was left by its worker: it goes on here or elsewhere",
                    due.id,
                    extra=due.ids,
                )
                dispatch.tell_queued(self._runtime, due.id, due.flow)
                ready.append(due)
        self._publish(ready)
        self._look_rarely(scope)
        slots = limits.look(self._runtime, scope.flows)
        # As many as one look brings: there are more.
        return 0.0 if len(ready) >= BATCH else min(found.next_due or _SWEEP, slots)

    def _scope(self) -> Scope:
        app = self._worker.app
        own = {express_queue(name) for name in app.amqp.queues.consume_from}
        queues = tuple(name for name in app.amqp.queues.consume_from if name not in own)
        flows = tuple(
            name
            for name, task in app.tasks.items()
            if getattr(task, "runtime", None) is self._runtime
        )
        now = elapsed()
        busy = tuple(
            name
            for name in queues
            for at, depth in [self._depths.get(name, (0.0, 0))]
            if depth and now - at < _DEPTH_FOR
        )
        return Scope(queues, flows, busy)

    def _waits_for_its_turn(self, due: Due) -> bool:
        """Whether the message of a new execution is still in its queue, as far as one can see."""
        if due.begun or not due.publishes:
            return False
        at, depth = self._depths.get(due.queue, (-_DEPTH_FOR, 0))
        if elapsed() - at >= _DEPTH_FOR:
            depth = self._runtime.process.publisher.depth(due.queue) or 0
            self._depths[due.queue] = (elapsed(), depth)
        return depth > 0 and due.publishes > 0

    def _publish(self, ready: list[Due]) -> None:
        publisher = self._runtime.process.publisher
        if not ready or not publisher.answers(ready[0].queue):
            return  # the broker is away: nothing is counted, all of it stays due
        token = secrets.token_hex(8)
        won = self._runtime.store.sweep.win(ready, token)
        for number, due in enumerate(won):
            try:
                published = dispatch.republish(self._runtime, due)
            except Exception:  # its document holds what no message can carry; the others go on
                logger.exception("Execution %s cannot be published", due.id, extra=due.ids)
                continue
            if not published:
                self._runtime.store.sweep.not_published(won[number:], token)
                return

    def _look_rarely(self, scope: Scope) -> None:
        if elapsed() - self._rarely_at < _RARELY:
            return
        self._rarely_at = elapsed()
        self._runtime.store.database.measure_clock()
        aftercare = self._runtime.store.aftercare
        for due in aftercare.follow_ups(scope, secrets.token_hex(8)):
            dispatch.republish(self._runtime, due)
        aftercare.purge()
        self._runtime.store.pauses.rest(scope.queues)
        limits.tidy(self._runtime, scope.flows)
        self.heartbeat.beat(scope)
        self._runtime.store.rollups.advance()

    def _release_orphans(self, scope: Scope) -> None:
        """Put back in line what pool processes had that died since the last look."""
        living = self._living_children()
        if living is None or living == self._children:
            return
        sweep, parent = self._runtime.store.sweep, os.getpid()
        orphans = sweep.orphans(host(), parent, living, scope.queues)
        # Whoever was forked meanwhile may have claimed one of them.
        spared = living | (self._living_children() or frozenset())
        for execution_id in orphans:
            due = sweep.release_orphan(execution_id, host(), parent, spared)
            if due is not None:
                logger.warning(
                    "Execution %s lost its pool process: it goes on in another one",
                    due.id,
                    extra=due.ids,
                )
                dispatch.tell_queued(self._runtime, due.id, due.flow)
        self._children = living  # only now: a sweep that failed looks again

    def _living_children(self) -> frozenset[int] | None:
        """Pids of the pool's living processes; ``None`` for pools without any."""
        children = getattr(getattr(self._worker.pool, "_pool", None), "_pool", None)
        if not isinstance(children, list):
            return None
        pids = [child.pid for child in tuple(children)]  # None: it is being forked
        return frozenset(pid for pid in pids if pid is not None and not _has_exited(pid))


class FlowRequest(Request):
    """A worker's view of a flow's message: the end of a pool process is no failure of the flow.

    Celery would record FAILURE, call the errbacks and fail the chord, while the execution goes
    on elsewhere.
    """

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if not isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        task_ready(self)
        if self.task.acks_late:
            self.acknowledge()
        return None

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if soft:
            return super().on_timeout(soft, timeout)
        task_ready(self)
        logger.warning(
            "Execution %s exceeded its hard time limit of %s s; its process is ended",
            self.id,
            timeout,
            extra={"execution": self.id, "flow": self.task.name},
        )
        if self.task.acks_late:
            self.acknowledge()
        return None


class Deferral(bootsteps.StartStopStep):
    """The consumer's bootstep: a message for a flow that this worker does not know.

    Celery would record a failure. The execution is in MongoDB, and workers that know the flow
    publish it again until one of them takes it.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Called at each connection, before messages are consumed."""
        unknown = type(consumer).on_unknown_task

        def on_unknown_task(body: Any, message: Any, error: Exception) -> None:
            if not (message.headers or {}).get(HEADER):
                unknown(consumer, body, message, error)
                return
            flow, id = message.headers.get("task"), message.headers.get("id")
            logger.warning(
                "Flow %.200r is not known here: execution %.200r waits for a worker that knows it",
                flow,
                id,
                extra={"execution": id, "flow": flow},
            )
            message.ack_log_error(logger, consumer.connection_errors)

        consumer.on_unknown_task = on_unknown_task


def _has_exited(pid: int) -> bool:
    """Whether a child process has ended; it is not reaped, that is its pool's business."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
