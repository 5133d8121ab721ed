"""A buffer that makes nobody wait: what it sends, keeps and loses."""

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support import eventually
from worchflow_celery.outbox import Outbox


class Away(Exception):
    pass


class Receiver:
    """Takes batches, or fails as a test wants it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fails: Exception | None = None
        self.tried = 0

    def take(self, batch: list[int]) -> None:
        self.tried += 1
        if self.fails is not None:
            raise self.fails
        self.batches.append(list(batch))

    @property
    def items(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def outbox(receiver: Receiver) -> Iterator[Outbox[int]]:
    box: Outbox[int] = Outbox("numbers", receiver.take, again=(Away,), capacity=1500)
    yield box
    box.close()


def put(outbox: Outbox[int], numbers: range) -> None:
    for number in numbers:
        outbox.put(number)


def test_items_arrive_in_order_and_together(outbox: Outbox[int], receiver: Receiver) -> None:
    put(outbox, range(500))

    eventually(lambda: receiver.items == list(range(500)))
    assert len(receiver.batches) <= 2


def test_a_batch_has_a_thousand_items_at_most(outbox: Outbox[int], receiver: Receiver) -> None:
    put(outbox, range(1400))

    eventually(lambda: len(receiver.items) == 1400)
    assert max(map(len, receiver.batches)) <= 1000


def test_what_was_not_taken_comes_first_when_the_receiver_is_back(
    outbox: Outbox[int], receiver: Receiver
) -> None:
    receiver.fails = Away()
    put(outbox, range(10))
    eventually(lambda: receiver.tried == 1)
    put(outbox, range(10, 20))
    receiver.fails = None

    eventually(lambda: receiver.items == list(range(20)))
    assert outbox.dropped == 0


def test_a_batch_that_cannot_be_taken_is_dropped_and_the_next_one_is_not(
    outbox: Outbox[int], receiver: Receiver
) -> None:
    receiver.fails = ValueError()
    put(outbox, range(10))
    eventually(lambda: outbox.dropped == 10)
    receiver.fails = None
    put(outbox, range(10, 20))

    eventually(lambda: receiver.items == list(range(10, 20)))


def test_the_oldest_are_lost_when_too_many_wait(outbox: Outbox[int], receiver: Receiver) -> None:
    receiver.fails = Away()
    put(outbox, range(100))
    eventually(lambda: receiver.tried >= 1)
    put(outbox, range(100, 4000))
    receiver.fails = None

    eventually(lambda: receiver.items and receiver.items[-1] == 3999)
    assert receiver.items == list(range(4000 - len(receiver.items), 4000))
    assert len(receiver.items) + outbox.dropped == 4000
    assert len(receiver.items) <= 1500 + 1000


def test_closing_sends_what_waits(outbox: Outbox[int], receiver: Receiver) -> None:
    put(outbox, range(10))

    outbox.close()

    assert receiver.items == list(range(10))


def test_closing_does_not_wait_for_a_receiver_that_is_away(
    outbox: Outbox[int], receiver: Receiver
) -> None:
    receiver.fails = Away()
    outbox.put(1)
    eventually(lambda: receiver.tried == 1)

    outbox.close()

    assert receiver.tried == 1


def test_an_outage_is_one_line_in_the_log_and_its_end_another(
    outbox: Outbox[int], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.fails = Away()
    outbox.put(1)
    eventually(lambda: receiver.tried == 2)
    receiver.fails = None
    eventually(lambda: receiver.items == [1])
    outbox.close()

    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warnings == [
        "The numbers are not sent for now: Away",
        "The numbers are sent again; 0 were dropped",
    ]


@pytest.mark.parametrize("use", [lambda box: None, lambda box: box.close()])
def test_an_outbox_without_items_has_no_thread(
    outbox: Outbox[int], use: Callable[[Outbox[int]], None]
) -> None:
    use(outbox)

    assert [one.name for one in threading.enumerate() if "numbers" in one.name] == []
