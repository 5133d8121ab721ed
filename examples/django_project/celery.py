"""The Celery app of the project, as Celery's own guide for Django has it, and two lines more.

In two terminals:

    celery -A examples.django_project worker
    python -m examples.django_project.send
"""

import os

from celery import Celery

from worchflow_celery import Worchflow

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_project.settings")

app = Celery("django_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()  # finds the flows, too: in `tasks.py` of each installed app
worchflow = Worchflow(app)
