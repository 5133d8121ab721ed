"""What the pages say of schedules: who leads, what was missed, what comes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.dashboard.conftest import Visitor
from tests.support import Bench
from worchflow_celery import Scheduler, Worchflow, cron
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import Access, create_app, crontalk
from worchflow_celery.models import Window
from worchflow_celery.presence import Presence


@pytest.fixture
def beat(shop: Worchflow, celery_app: Celery) -> Iterator[Callable[[], Scheduler]]:
    """Start schedulers, and turn each once."""
    started: list[Scheduler] = []

    def start() -> Scheduler:
        scheduler = Scheduler(celery_app, lazy=True)
        scheduler.setup_schedule()
        started.append(scheduler)
        scheduler.tick()
        return scheduler

    yield start
    for one in started:
        one.close()


def test_without_a_scheduler_the_page_says_loudly_that_nobody_leads(visitor: Visitor) -> None:
    for path in ("/schedules", "/schedules/nightly"):
        page = visitor.get(path).text
        assert "No leader: nothing starts by its schedule." in page
        assert 'role="alert"' in page


def test_the_page_names_the_leader_its_lease_and_who_stands_by(
    visitor: Visitor, beat: Callable[[], Scheduler]
) -> None:
    beat()
    beat()

    page = visitor.get("/schedules").text
    told = visitor.get("/api/v1/schedules").json()["leader"]

    assert ">Leader</span>" in page and "lease 1" in page
    assert page.count("pid ") == 2
    assert "No leader" not in page
    assert told["state"] == "leads" and 0 < told["left"] <= 15
    assert "token" not in told["is"]


def test_when_the_leader_ends_one_that_stands_by_is_said_to_take_over(
    visitor: Visitor, beat: Callable[[], Scheduler]
) -> None:
    leader, _ = beat(), beat()

    leader.close()

    assert "should lead within seconds" in visitor.get("/schedules").text


def test_without_redis_nobody_can_tell_who_leads(bench: Bench, celery_app: Celery) -> None:
    bound = bench.bind(celery_app, redis_backend="redis://:secret@127.0.0.1:9/0")

    @bound.flow("hourly", cron="@hourly")
    def hourly(event: Any) -> None: ...

    page = Visitor(create_app(celery_app)).get("/schedules")
    bound.close()

    assert page.status_code == 200
    assert "Nobody can tell who leads, so nobody does." in page.text
    assert "secret" not in page.text


def test_a_beat_without_an_election_is_named(bench: Bench, celery_app: Celery) -> None:
    bound = bench.bind(celery_app, leader_election=False)

    @bound.flow("hourly", cron="@hourly")
    def hourly(event: Any) -> None: ...

    Presence(bound.runtime).tell("alone")
    page = Visitor(create_app(celery_app)).get("/schedules").text
    bound.close()

    assert "No election: fires alone" in page


def test_a_scheduler_says_once_in_five_seconds_that_it_is_there(
    shop: Worchflow, bench: Bench
) -> None:
    presence = Presence(shop.runtime)

    presence.tell(None)
    first = bench.collection("schedulers").find_one()
    presence.tell(None)
    second = bench.collection("schedulers").find_one()
    presence.tell("a term")
    third = bench.collection("schedulers").find_one()

    assert first == second
    assert third is not None and third["token"] == "a term"


def test_a_store_that_is_away_costs_a_scheduler_one_try(bench: Bench, celery_app: Celery) -> None:
    bound = bench.bind(celery_app, database_url="mongodb://127.0.0.1:9/x", store_timeout=0.2)
    presence, tries = Presence(bound.runtime), []
    asked = bound.runtime.store.schedulers.seen
    bound.runtime.store.schedulers.seen = (  # type: ignore[method-assign]
        lambda *given: (tries.append(given), asked(*given))[1]
    )

    presence.tell(None)
    presence.tell(None)
    bound.close()

    assert len(tries) == 1


@pytest.fixture
def outage(shop: Worchflow) -> list[Window]:
    """An outage that missed 30 windows, of which the newest ran; and one of a month ago."""
    now = utcnow().replace(microsecond=0)
    why = {"reason": "no leader fired it; 30 missed since 02:58"}
    found = [
        Window(
            flow="nightly",
            scheduled_for=now - timedelta(minutes=number),
            fired_at=now,
            outcome="missed-skipped" if number else "missed-ran",
            execution_id=None if number else "cron:nightly@1",
            **why,
        )
        for number in range(30)
    ]
    old = found[1].model_copy(update={"scheduled_for": now - timedelta(days=30)})
    return shop.runtime.store.schedules.decide([*found, old])


def test_the_windows_missed_in_a_week_are_counted_and_an_outage_is_one_line(
    visitor: Visitor, outage: list[Window]
) -> None:
    page = visitor.get("/schedules").text

    assert "30 missed windows</span> in 7 days" in page
    assert page.count("no leader fired it; 30 missed since 02:58") == 1
    assert "the newest ran" in page


def test_a_week_without_a_gap_says_so(visitor: Visitor) -> None:
    assert "No missed windows in 7 days" in visitor.get("/schedules").text


def test_missed_windows_are_found_without_looking_at_the_others(
    shop: Worchflow, outage: list[Window], bench: Bench
) -> None:
    windows = bench.collection("windows")
    fired = [{"flow": "nightly", "scheduled_for": utcnow(), "outcome": "fired"}] * 500
    windows.insert_many([{**one, "_id": str(number)} for number, one in enumerate(fired)])
    bench.database.command("profile", 2)

    try:
        shop.runtime.store.schedules.missed(utcnow() - timedelta(days=7), 1001)
    finally:
        bench.database.command("profile", 0)

    query = {"ns": {"$regex": f"{bench.prefix}_windows"}, "op": "query"}
    seen = bench.database["system.profile"].find_one(query)
    assert seen is not None and "IXSCAN" in seen["planSummary"]
    assert seen["docsExamined"] <= 31


def test_a_paused_schedule_says_who_paused_it(visit: Callable[..., Visitor]) -> None:
    ana = visit(auth=lambda request: Access("operator", "ana"))
    ana.post("/act", {"action": "pause-schedule", "flow": "nightly", "token": "1"})

    assert "by ana" in ana.get("/schedules").text
    assert "Paused by ana." in ana.get("/schedules/nightly").text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 min"),
        ("*/20 * * * * *", "every 20 s"),
        ("* * * * * *", "every second"),
        ("5 * * * *", "hourly at :05"),
        ("@hourly", "hourly at :00"),
        ("0 */6 * * *", "every 6 h"),
        ("0 3 * * *", "daily at 3:00"),
        ("30 8,12 * * *", "daily at 8:30, 12:30"),
        ("0 9 * * MON-FRI", "at 9:00, Mon–Fri"),
        ("*/15 8-18 * * MON-FRI", "every 15 min, 8:00–18:59, Mon–Fri"),
        ("*/5 3 * * *", "every 5 min from 3:00 to 3:59"),
        ("0 0 1 * *", "at 0:00, on 1. of the month"),
        ("0 0 L * *", "at 0:00, on the last of the month"),
        ("0 0 1 1 *", "at 0:00, on 1. of the month, in Jan"),
        ("0 4 * * SAT,SUN", "at 4:00, Sun, Sat"),
        ("0 0 * * 5#2", ""),
        ("0 0 13 * FRI", ""),
        ("7,13,29 */5 * * *", ""),
        ("5 0 0 * * *", ""),
    ],
)
def test_a_line_is_said_in_words_or_not_at_all(line: str, words: str) -> None:
    assert crontalk.words(line) == words


BERLIN = "Europe/Berlin"
SPRING, AUTUMN = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "now", "notes"),
    [
        ("30 2 * * *", SPRING, ["skip its time", ""]),
        ("0 3 * * *", SPRING, ["gone forward before: now UTC+0200", ""]),
        ("30 2 * * *", AUTUMN, ["show this time twice: it runs the first time only", "gone back"]),
        ("0 3 * * *", AUTUMN, ["gone back before: now UTC+0100", ""]),
        ("0 12 * * *", datetime(2026, 6, 1, tzinfo=UTC), ["", ""]),
    ],
)
def test_what_comes_says_what_the_clocks_do_to_it(
    line: str, now: datetime, notes: list[str]
) -> None:
    first = cron.next_run(line, now, BERLIN)
    moments = [first, cron.next_run(line, first, BERLIN)]

    found = crontalk.notes(line, BERLIN, now, moments)

    told = [
        wanted if wanted and wanted in note else note
        for wanted, note in zip(notes, found, strict=True)
    ]
    assert told == notes


def test_a_line_of_every_hour_is_told_which_of_the_two_it_is() -> None:
    moments = cron.missed_windows(
        "30 * * * *", AUTUMN + timedelta(hours=12), AUTUMN + timedelta(hours=14), BERLIN
    )

    found = crontalk.notes("30 * * * *", BERLIN, AUTUMN, moments)

    assert [note.rpartition(": ")[2] for note in found] == ["first of two", "second of two"]
