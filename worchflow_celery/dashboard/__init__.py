"""The dashboard: an ASGI app that shows executions, flows and schedules, and acts on them.

``create_app(celery_app, auth=...)`` makes it, to be mounted under any path; ``run`` serves it.
"""

try:
    import jinja2
    import starlette
    import uvicorn
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the dashboard needs {error.name}: pip install 'worchflow-celery[dashboard]'",
        name=error.name,
    ) from None

from worchflow_celery.dashboard.app import create_app
from worchflow_celery.dashboard.security import Access, basic, token
from worchflow_celery.dashboard.serving import auth_file, run

__all__ = ["Access", "auth_file", "basic", "create_app", "run", "token"]

del jinja2, starlette, uvicorn
