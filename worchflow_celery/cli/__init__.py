"""The command line: `celery -A app worchflow …`.

Asking (what the store is asked, what is done) is in a module per group of commands; printing is in
`output`, `wording` and `waterfall`. A failure is one line on stderr and an exit code of `codes`.
"""

from worchflow_celery.cli import (
    changing,
    development,
    doctor,
    listing,
    logs,
    looking,
    pages,
    schedules,
    sending,
    watching,
)
from worchflow_celery.cli.group import worchflow

__all__ = [
    "changing",
    "development",
    "doctor",
    "listing",
    "logs",
    "looking",
    "pages",
    "schedules",
    "sending",
    "watching",
    "worchflow",
]
