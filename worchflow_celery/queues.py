"""What waits in the broker: how much in each queue, since when, and who takes it."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from worchflow_celery import dispatch
from worchflow_celery.observed import QueueInfo, WorkerInfo
from worchflow_celery.publisher import express_queue
from worchflow_celery.runtime import Runtime

#: Queues that are looked at, and unacknowledged messages that are told apart by their queue.
_MOST, _MOST_UNACKED = 100, 1000


class BrokerUnavailable(Exception):
    """The broker does not answer; the text holds no password."""


def queues(runtime: Runtime, workers: Iterable[WorkerInfo]) -> list[QueueInfo]:
    """The queues of the app's flows and of the workers that live.

    Raises ``BrokerUnavailable``, and ``StoreUnavailable``.
    """
    consumers = Counter(name for one in workers if one.alive for name in one.queues)
    names = sorted({*_names_of(runtime), *consumers})[:_MOST]
    ready, unacked, heads = _look(runtime, names)
    sent = runtime.store.reading.sent_at([one for ids in heads.values() for one in ids])
    found = []
    for name in names:
        moments = [sent[one] for one in heads[name] if one in sent]
        found.append(
            QueueInfo(
                name=name,
                ready=ready[name],
                unacked=None if unacked is None else unacked[name],
                oldest_at=min(moments, default=None),
                consumers=consumers[name],
            )
        )
    return found


def _names_of(runtime: Runtime) -> set[str]:
    options = [(one.id, one.options.queue) for one in runtime.definitions.values()]
    default = str(runtime.app.conf.task_default_queue)
    return {default, *(dispatch.queue_of(runtime.app, *one) for one in options)}


def _look(
    runtime: Runtime, names: Collection[str]
) -> tuple[dict[str, int], Counter[str] | None, dict[str, list[str]]]:
    """Per queue, both of its lines together: messages, those in work, the ids of the oldest."""
    with runtime.process.publisher.connect() as connection:
        try:
            channel: Any = connection.channel()
            lines = {name: (name, express_queue(name)) for name in names}
            ready = {
                name: sum(_depth(connection, channel, line) for line in of_one)
                for name, of_one in lines.items()
            }
            if not hasattr(channel, "unacked_key"):  # another broker than Redis
                return ready, None, {name: [] for name in names}
            heads = {
                name: [id for line in of_one for id in _heads(channel, line)]
                for name, of_one in lines.items()
            }
            return ready, _unacked(channel), heads
        except Exception as error:  # any transport raises its own kinds
            where = connection.as_uri().rstrip("/")
            raise BrokerUnavailable(
                f"the broker at {where} does not answer ({type(error).__name__})"
            ) from None


def _depth(connection: Any, channel: Any, queue: str) -> int:
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return 0  # no such queue


def _heads(channel: Any, queue: str) -> list[str]:
    """The ids of what is taken next, one for each priority."""
    ends = [channel.client.lindex(channel._q_for_pri(queue, one), -1) for one in _steps(channel)]
    found = []
    for text in filter(None, ends):
        message = _read(text)
        headers = message.get("headers") if isinstance(message, dict) else None
        if isinstance(headers, dict) and isinstance(headers.get("id"), str):
            found.append(headers["id"])
    return found


def _steps(channel: Any) -> Iterable[int]:
    return tuple(channel.priority_steps)


def _unacked(channel: Any) -> Counter[str] | None:
    """Messages that a worker holds, by queue; ``None`` where they are too many to tell apart."""
    client, key = channel.client, channel.unacked_key
    if client.hlen(key) > _MOST_UNACKED:
        return None
    found: Counter[str] = Counter()
    for text in client.hvals(key):
        held = _read(text)
        if isinstance(held, list) and len(held) == 3:
            found[str(held[2]).removesuffix(express_queue(""))] += 1
    return found


def _read(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # somebody else's
