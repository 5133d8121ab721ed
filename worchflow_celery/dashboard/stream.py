"""Live updates to browsers, as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.hub import Hub, Listener, TooMany
from worchflow_celery.dashboard.site import site_of

#: Seconds between signs of life, for proxies.
_PING = 10.0


async def events(request: Request) -> Response:
    """``GET events``: server-sent events, of one execution with ``?execution=``."""
    site = site_of(request)
    only = request.query_params.get("execution")
    try:
        listener = site.hub.join()
    except TooMany as error:
        raise Problem(503, str(error)) from None
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    stream = _stream(site.hub, listener, only)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(hub: Hub, listener: Listener, only: str | None) -> AsyncIterator[str]:
    """Messages as they come, and a comment where none comes for a while."""
    _, queue = listener
    try:
        yield "retry: 2000\n: hello\n\n"
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), _PING)
            except TimeoutError:
                yield ": here\n\n"
                continue
            if only is None or f'"execution_id": {json.dumps(only)}' in message:
                yield message
    finally:
        hub.leave(listener)
