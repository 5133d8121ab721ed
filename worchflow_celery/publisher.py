"""The door to the broker: publishes ids, never waits for long, never retries.

A publish that fails costs time and nothing else, for MongoDB knows the execution: the dispatcher
publishes it when the broker is back. So there is no reason to make a caller wait.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import ChannelError

from worchflow_celery.clock import elapsed

logger = logging.getLogger(__name__)

#: The header by which a worker knows a message of ours.
HEADER = "worchflow"
#: Seconds for which a broker that failed is not asked again by ``send``.
_REST = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """A wake-up for one execution."""

    execution_id: str
    flow: str
    queue: str
    priority: int | None = None
    #: Past the backlog of new executions, to those workers that listen there.
    express: bool = False
    ignore_result: bool = True
    #: What Celery's message carries beside: headers, time limits, root and parent ids.
    extra: Mapping[str, Any] = field(default_factory=dict)
    countdown: float | None = None
    retries: int = 0


def express_queue(queue: str) -> str:
    """The queue in which recovered executions pass the new ones of ``queue``."""
    return f"{queue}.worchflow"


class Publisher:
    """Connections of one process to the broker, with short timeouts."""

    def __init__(self, app: Celery, patience: float) -> None:
        self._app = app
        # One publish may connect and then write: together within the caller's patience.
        self._timeout = max(0.1, min(patience / 3, 2.0))
        self._idle: deque[Producer] = deque()
        self._lock = threading.Lock()
        #: When it failed last; ``None`` since it worked again.
        self._failed_at: float | None = None

    @property
    def resting(self) -> bool:
        """Whether the broker has failed a moment ago."""
        return self._failed_at is not None and elapsed() - self._failed_at < _REST

    def publish(self, message: Message) -> bool:
        """Publish; ``False``, and a line in the log, when the broker does not take it."""
        if self.resting:
            return False
        built = self._built(message)
        producer = None
        try:
            producer = self._acquire()
            self._send(producer, message, built)
        except Exception as error:  # any transport raises its own kinds
            self._give_up(producer, error)
            return False
        except BaseException:
            _discard(producer)
            raise
        self._release(producer)
        return True

    def answers(self, queue: str) -> bool:
        """Whether the broker is there, as far as one knows; asked only after a failure."""
        if self._failed_at is None:
            return True
        return not self.resting and self.depth(queue) is not None

    def depth(self, queue: str) -> int | None:
        """How many messages a queue holds; ``None`` when the broker cannot tell."""
        producer = None
        try:
            producer = self._acquire()
            channel: Any = producer.channel
            answer = channel.queue_declare(queue=queue, passive=True)
        except ChannelError:
            _discard(producer)
            return 0  # no such queue
        except Exception as error:
            self._give_up(producer, error)
            return None
        self._release(producer)
        return int(answer.message_count)

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            _discard(self._idle.pop())

    def connect(self) -> Connection:
        """A new connection, not made yet, that waits for nothing for long."""
        options = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            "max_retries": 0,
        }
        if not str(self._app.conf.broker_write_url or "").startswith(("redis", "sentinel")):
            options = {}  # other transports know other names
        return self._app.connection_for_write(
            transport_options=options, connect_timeout=self._timeout
        )

    def _release(self, producer: Producer) -> None:
        self._failed_at = None
        self._idle.append(producer)

    def _acquire(self) -> Producer:
        try:
            return self._idle.pop()
        except IndexError:
            return self._app.amqp.Producer(self.connect(), auto_declare=False)

    def _built(self, message: Message) -> Any:
        extra = {name: value for name, value in message.extra.items() if name != "headers"}
        built = self._app.amqp.create_task_message(
            message.execution_id,
            message.flow,
            args=(),
            kwargs={},
            countdown=message.countdown,
            retries=message.retries,
            ignore_result=message.ignore_result,
            create_sent_event=self._app.conf.task_send_sent_event,
            **extra,
        )
        built.headers.update({**(message.extra.get("headers") or {}), HEADER: 1})
        return built

    def _send(self, producer: Producer, message: Message, built: Any) -> None:
        options: dict[str, Any] = {"serializer": "json", "retry": False}
        if message.priority is not None:
            options["priority"] = message.priority
        queue = self._queue(message)
        self._app.amqp.send_task_message(producer, message.flow, built, queue=queue, **options)

    def _queue(self, message: Message) -> Queue:
        name = express_queue(message.queue) if message.express else message.queue
        try:
            return self._app.amqp.queues[name]
        except KeyError:  # queues that are not configured are not to be made
            return Queue(name, Exchange(""), routing_key=name)

    def _give_up(self, producer: Producer | None, error: Exception) -> None:
        level = logging.WARNING if self._failed_at is None else logging.DEBUG
        self._failed_at = elapsed()
        logger.log(
            level,
            "The broker does not answer (%s): executions wait in MongoDB until it does",
            type(error).__name__,
        )
        _discard(producer)


def _discard(producer: Producer | None) -> None:
    if producer is None:
        return
    connection = producer.connection
    if connection is not None:
        # Collapses without a word to a broker that may be frozen.
        connection.collect(socket_timeout=0.1)
