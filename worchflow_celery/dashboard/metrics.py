"""What Prometheus scrapes."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from worchflow_celery.dashboard.lists import counts_of
from worchflow_celery.dashboard.queries import Query
from worchflow_celery.dashboard.site import site_of
from worchflow_celery.errors import StoreUnavailable

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(request: Request) -> Response:
    """The text format; with the store down it says so and answers 200, as an exporter does."""
    site = site_of(request)
    lines = ["# HELP worchflow_up Whether MongoDB answers.", "# TYPE worchflow_up gauge"]
    try:
        with site.reading() as worchflow:
            counts = counts_of(worchflow, Query())
    except StoreUnavailable:
        return PlainTextResponse("\n".join([*lines, "worchflow_up 0", ""]), media_type=_TYPE)
    lines += [
        "worchflow_up 1",
        "# HELP worchflow_executions Stored executions by status; 10001 stands for more.",
        "# TYPE worchflow_executions gauge",
    ]
    lines += [
        f'worchflow_executions{{status="{status}"}} {count}'
        for status, count in counts.items()
        if count is not None and status != "all"
    ]
    return PlainTextResponse("\n".join([*lines, ""]), media_type=_TYPE)
