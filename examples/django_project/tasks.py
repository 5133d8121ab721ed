"""The flows of a Django app, where Celery looks for tasks.

In two terminals:

    celery -A examples.django_project worker
    python -m examples.django_project.send
"""

from django.conf import settings
from django.utils.text import slugify

from examples.django_project.celery import worchflow
from worchflow_celery import Event, Step


@worchflow.flow("publish-article", retries=3)
def publish_article(event: Event[str], step: Step) -> str:
    slug = step.run("Choose address", slugify, event.data)
    step.run("Tell subscribers", print, f"to all subscribers: read {slug}")
    return f"/articles/{slug}/ from {settings.SETTINGS_MODULE}"
