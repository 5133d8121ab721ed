"""A small shop behind a dashboard, asked without a network."""

import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import anyio
import httpx
import pytest
from celery import Celery
from pydantic import BaseModel, Field

from tests.support import Bench, deliver
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.dashboard import create_app


class Currency(StrEnum):
    EUR = "EUR"
    USD = "USD"


class Address(BaseModel):
    city: str
    zip: str | None = None


class Payment(BaseModel):
    amount: int = Field(gt=0, description="In cents.")
    customer: str
    currency: Currency = Currency.EUR
    ship_to: Address | None = None
    tags: list[str] = []


@pytest.fixture
def shop(worchflow: Worchflow) -> Iterator[Worchflow]:
    """Flows that end well, badly, and with children."""
    yield furnished(worchflow)
    for thread in threading.enumerate():
        if thread.name == "batches":  # its last word is the audit's, after the batch has ended
            thread.join(10)


def furnished(worchflow: Worchflow) -> Worchflow:
    """Give an app the flows of the shop."""

    @worchflow.flow("pay", retries=0, search=("customer",))
    def pay(event: Event[Payment], step: Step) -> dict[str, Any]:
        """Charge a customer."""
        step.run("Check", lambda: "checked")
        if event.data.amount == 13:
            raise ConnectionError(f"no answer for {event.data.customer}")
        return {"charged": event.data.amount}

    @worchflow.flow("plain")
    def plain(event: Event[Any], step: Step) -> Any:
        return step.run("echo", lambda: event.data)

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke("child", "plain", "from the parent")

    @worchflow.flow("nightly", cron="0 3 * * *")
    def nightly(event: Event[Any]) -> None: ...

    return worchflow


class Visitor:
    """Somebody who asks one dashboard, as a browser on its own pages does."""

    def __init__(self, app: Any, base: str = "http://localhost", **headers: str) -> None:
        self.app = app
        self.base = base
        self.headers = headers

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        transport = _Transport(self.app)
        with httpx.Client(transport=transport, base_url=self.base, headers=headers) as client:
            return client.request(method, path, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, data: Any = None, **more: Any) -> httpx.Response:
        origin = {"origin": self.base, "sec-fetch-site": "same-origin"}
        headers = {**origin, **more.pop("headers", {})}
        return self.ask("POST", path, data=data, headers=headers, **more)


class _Transport(httpx.BaseTransport):
    """ASGI for a client that does not wait in a loop of its own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def handle() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport) as client:
                given = httpx.Request(
                    request.method, request.url, headers=request.headers, content=request.read()
                )
                found = await client.send(given)
                return httpx.Response(
                    found.status_code, headers=found.headers, content=found.read()
                )

        return anyio.run(handle)


@pytest.fixture
def visit(shop: Worchflow, celery_app: Celery) -> Iterator[Callable[..., Visitor]]:
    """Make a dashboard of the shop, and somebody who visits it."""

    def make(base: str = "http://localhost", headers: Any = None, **options: Any) -> Visitor:
        return Visitor(create_app(celery_app, **options), base, **(headers or {}))

    yield make


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    """A visitor of a dashboard without authentication, on this machine."""
    return visit()


@pytest.fixture
def run(shop: Worchflow, celery_app: Celery) -> Callable[..., str]:
    """Send something and let it run to its end; its id."""

    def send(flow: str, data: Any = None, **options: Any) -> str:
        started = shop.send(flow, data, **options)
        deliver(celery_app)
        return started.id

    return send


PAYMENT = {"amount": 100, "customer": "cust_7"}
FAILING = {"amount": 13, "customer": "cust_13"}


@pytest.fixture
def down(bench: Bench, celery_app: Celery) -> Iterator[Visitor]:
    """A visitor of a dashboard whose store does not answer."""
    bound = bench.bind(celery_app, database_url="mongodb://127.0.0.1:9/worchflow", store_timeout=5)

    @bound.flow("unreachable")
    def unreachable(event: Event[Any]) -> None: ...

    yield Visitor(create_app(celery_app))
    bound.close()
