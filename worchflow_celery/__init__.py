"""Durable, step-based workflows inside the Celery app you have."""

from worchflow_celery import cron, errors, signals
from worchflow_celery.app import Worchflow
from worchflow_celery.async_step import AsyncStep
from worchflow_celery.beat import Scheduler
from worchflow_celery.flow import Flow
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.models import Event, Execution, ExecutionStatus, StepRecord
from worchflow_celery.step import Step
from worchflow_celery.version import VERSION

__version__ = VERSION

__all__ = [
    "AsyncStep",
    "Event",
    "Execution",
    "ExecutionHandle",
    "ExecutionStatus",
    "Flow",
    "Scheduler",
    "Step",
    "StepRecord",
    "Worchflow",
    "cron",
    "errors",
    "signals",
]
