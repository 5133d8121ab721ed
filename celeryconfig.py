"""The Celery configuration that examples, demo and tests use; a good start for your own."""

import os

broker_url = os.environ.get("WORCHFLOW_REDIS_URL", "redis://localhost:6379/0")
worchflow_database_url = os.environ.get(
    "WORCHFLOW_DATABASE_URL", "mongodb://localhost:27017/worchflow?replicaSet=rs0"
)

# A worker that starts before its broker waits for it.
broker_connection_retry_on_startup = True

broker_transport_options = {
    # Longer than any task of yours that acknowledges late: Redis hands a message out again
    # after this time, to any worker of any app in the same database. Flows do not need it.
    "visibility_timeout": 12 * 3600,
    # Without them a publish to a frozen Redis would hang for ever.
    "socket_connect_timeout": 5,
    "socket_timeout": 30,
    # A connection that died without a word is noticed, and restored.
    "health_check_interval": 10,
}

# A worker takes what it can run, not four times as much: the rest stays for others.
worker_prefetch_multiplier = 1

# Flows keep their results in MongoDB; tasks that want one in a result backend say so.
task_ignore_result = True
