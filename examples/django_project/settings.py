"""Settings of a Django project: those of Celery and Worchflow share the namespace CELERY.

In two terminals:

    celery -A examples.django_project worker
    python -m examples.django_project.send
"""

import os

SECRET_KEY = "for this example only"
INSTALLED_APPS = ["examples.django_project"]
TIME_ZONE = "UTC"
USE_TZ = True

CELERY_BROKER_URL = os.environ.get("WORCHFLOW_REDIS_URL", "redis://localhost:6379/0")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1

CELERY_WORCHFLOW_DATABASE_URL = os.environ.get(
    "WORCHFLOW_DATABASE_URL", "mongodb://localhost:27017/worchflow?replicaSet=rs0"
)
CELERY_WORCHFLOW_LEASE_TTL = 20
CELERY_WORCHFLOW_RETENTION = 30 * 24 * 3600
