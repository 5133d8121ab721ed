"""A Django project with a flow: settings.py, celery.py, and tasks.py of its only app."""

from examples.django_project.celery import app as celery_app

__all__ = ["celery_app"]
