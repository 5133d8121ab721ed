"""Development mode: servers, worker, scheduler and dashboard under one supervisor."""

from worchflow_celery.dev.browser import Browser
from worchflow_celery.dev.places import NoServers, Places
from worchflow_celery.dev.supervisor import Supervisor

__all__ = ["Browser", "NoServers", "Places", "Supervisor"]
