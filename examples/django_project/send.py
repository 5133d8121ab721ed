"""Start a flow from Django code; in a project of yours a view does it, or a command.

In two terminals:

    celery -A examples.django_project worker
    python -m examples.django_project.send
"""

import django

django.setup()

from examples.django_project.celery import worchflow  # noqa: E402 - Django comes first
from examples.django_project.tasks import publish_article  # noqa: E402


def main() -> None:
    article = publish_article.send("Ten steps to a durable workflow")
    print(f"result: {article.result(timeout=30)}")
    print(f"status: {article.status}")
    print(f"lease of {worchflow.settings.lease_ttl:g} s, as the settings say")


if __name__ == "__main__":
    main()
