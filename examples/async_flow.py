"""An async flow: the same steps with `await`, several of them at once.

In two terminals:

    celery -A examples.async_flow worker
    python -m examples.async_flow
"""

import asyncio

from celery import Celery

from worchflow_celery import AsyncStep, Event, Worchflow

app = Celery("examples.async_flow")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


@worchflow.flow("compare-offers")
async def compare_offers(event: Event[list[str]], step: AsyncStep) -> str:
    # A name for each: a step that is awaited at the same time as others needs one of its own.
    asked = [step.run(f"Ask {shop}", ask, shop) for shop in event.data]
    offers = dict(zip(event.data, await asyncio.gather(*asked), strict=True))
    # A plain function is as good as a coroutine function.
    return await step.run("Choose", choose, offers)


async def ask(shop: str) -> int:
    await asyncio.sleep(1)  # stands for a request
    return 100 + len(shop)


def choose(offers: dict[str, int]) -> str:
    return min(offers, key=lambda shop: offers[shop])


def main() -> None:
    execution = compare_offers.send(["Bakery", "Mill", "Market"])
    print(f"result: {execution.result(timeout=30)}")
    steps = worchflow.steps(execution.id)
    print(f"steps: {len(steps)}")
    asked = steps[:3]
    span = max(one.finished_at for one in asked) - min(one.started_at for one in asked)
    print(f"three questions of a second each took {span.total_seconds():.0f} s")


if __name__ == "__main__":
    main()
