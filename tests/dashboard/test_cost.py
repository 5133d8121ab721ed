"""What pages cost with many executions, by MongoDB's profiler: what it examines, not how long."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from pymongo import WriteConcern

from tests.dashboard.conftest import Visitor
from tests.dashboard.furnished import bound, fill
from tests.support import Bench
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import create_app
from worchflow_celery.servers import Servers

#: More than is ever counted, and many times what any page shows.
MANY = 10_500
#: The most that is counted; documents that a page of 50 rows, or the figures of a flow, may read.
COUNTED, ROWS, SAMPLED = 10_001, 51, 1000
#: Collections of few documents, whatever happens: one for each schedule.
SMALL = ("schedules",)


@dataclass(frozen=True)
class Site:
    """A dashboard over many executions."""

    visitor: Visitor
    bench: Bench
    ids: Mapping[str, str]

    def costs(self, path: str) -> list[dict[str, Any]]:
        """Ask for a page; what MongoDB says of each read."""
        profile = self.bench.database["system.profile"]
        begin = utcnow()

        answer = self.visitor.get(path)

        assert answer.status_code == 200, answer.text[:500]
        reads = {"command.comment": {"$ne": "ours"}, "ts": {"$gte": begin}}
        reads["op"] = {"$in": ["query", "command", "getmore"]}
        found = list(profile.find(reads, comment="ours"))
        assert found, "the profiler has seen nothing"
        return found


@pytest.fixture(scope="module")
def site(running_servers: Servers) -> Iterator[Site]:
    """Most of one flow, and most of them completed, so that what is rare is hard to find."""
    url = running_servers.database_url.replace("/worchflow?", "/worchflow_cost?")
    bench = Bench(running_servers.redis_url, url, prefix="cost")
    with bound(bench) as (app, worchflow):
        ids = fill(bench, app, worchflow)
        _multiply(bench, ids)
        bench.database.command("profile", 2)
        yield Site(Visitor(create_app(app)), bench, ids)
        bench.database.command("profile", 0)
    bench.client.drop_database(bench.database.name)
    bench.clean()


def _multiply(bench: Bench, ids: Mapping[str, str]) -> None:
    fast = WriteConcern(w=1, j=False)
    executions = bench.collection("executions").with_options(write_concern=fast)
    steps = bench.collection("steps").with_options(write_concern=fast)
    past = utcnow() - timedelta(hours=2)
    kinds = ["completed"] * 998 + ["failed", "queued"]
    models = {one["_id"]: one for one in executions.find({"_id": {"$in": list(ids.values())}})}
    documents = []
    for number in range(MANY):
        model = models[ids[kinds[number % len(kinds)]]]
        at = past - timedelta(seconds=number)
        documents.append({**model, "_id": f"{number:05d}", "flow": "pay", "created_at": at})
    executions.insert_many(documents, ordered=False)
    model = steps.find_one({"_id": {"$regex": f"^{ids['completed']} "}})
    assert model is not None
    steps.insert_many({**model, "_id": f"{number:05d} Check"} for number in range(MANY))


def plans(costs: list[dict[str, Any]]) -> list[str]:
    """How each collection was read."""
    found = []
    for one in costs:
        collection = one["ns"].partition(".")[2].removeprefix("cost_")
        if collection not in SMALL and one.get("planSummary"):
            found.append(f"{collection} {one['planSummary']} {one['command'].get('filter', '')}")
    return found


LISTS = """status=failed status=queued status=completed status=failed&status=cancelled
status=queued&status=failed flow=pay flow=pay&status=failed flow=pay&status=queued flow=plain
last=1h last=24h&flow=pay last=7d&status=failed q=customer:cust_7 q=000 limit=200 flow=nobody
after=2020-01-01T00:00:00Z&before=2020-01-02T00:00:00Z&status=failed""".split()
PAGES = """/ /flows /flows/pay /flows/plain /flows/pay?window=7d /schedules /schedules/nightly
/workers /audit /bulk/retry?status=failed /bulk/cancel?flow=pay /metrics
/api/v1/executions /api/v1/executions?flow=pay&status=failed /api/v1/flows/pay/stats
/api/v1/schedules /api/v1/schedules/nightly/windows /api/v1/workers /api/v1/audit""".split()
ASKED = [*PAGES, *(f"/?{query}" for query in LISTS)]


@pytest.mark.parametrize("path", ASKED)
def test_a_page_reads_no_collection_from_end_to_end(site: Site, path: str) -> None:
    assert [plan for plan in plans(site.costs(path)) if "COLLSCAN" in plan] == []


@pytest.mark.parametrize("path", ASKED)
def test_a_page_sorts_only_what_has_not_ended(site: Site, path: str) -> None:
    sorted_ = [one["command"] for one in site.costs(path) if one.get("hasSortStage")]

    assert all(one["limit"] and "due_at" in str(one["filter"]) for one in sorted_), sorted_


@pytest.mark.parametrize("path", ASKED)
def test_a_page_reads_as_many_documents_as_it_shows_or_counts(site: Site, path: str) -> None:
    for one in site.costs(path):
        most = COUNTED + ROWS if "aggregate" in one["command"] else SAMPLED

        assert one.get("docsExamined", 0) <= most, one["command"]


@pytest.mark.parametrize("path", ASKED)
def test_a_page_looks_at_no_more_keys_than_it_counts(site: Site, path: str) -> None:
    for one in site.costs(path):
        assert one.get("keysExamined", 0) <= COUNTED + ROWS, one["command"]


@pytest.mark.parametrize("path", ["/", "/?status=failed", "/metrics"])
def test_statuses_are_counted_without_reading_a_document(site: Site, path: str) -> None:
    counted = [one for one in site.costs(path) if "n" in str(one["command"].get("pipeline"))]

    read = [one["docsExamined"] for one in counted if "10001" in str(one["command"])]
    assert len(read) == 8
    assert sum(read) == 0
