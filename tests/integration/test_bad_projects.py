"""A project's settings, in a module of its own or in Django's, and what Celery shows of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PASSWORD = "sesame-open"
APP = """
from celery import Celery
from worchflow_celery import Worchflow

app = Celery("shop")
app.config_from_object({module!r}, namespace={namespace!r})
worchflow = Worchflow(app)

@worchflow.flow("pay")
def pay(event): ...
"""
SETTINGS = {
    # Without one: of a CELERY_BROKER_URL Celery itself shows the password.
    "broker_url": "redis://127.0.0.1:1/0",
    "worchflow_database_url": f"mongodb://shop:{PASSWORD}@db.example/shop",
    "worchflow_redis_backend": f"redis://:{PASSWORD}@cache.example/1",
    "worchflow_prefix": "shop",
}
KINDS = {
    "plain": ("shop_settings", None, "{0} = {1!r}"),
    "django": ("django.conf:settings", "CELERY", "CELERY_{2} = {1!r}"),
}


@pytest.fixture(params=KINDS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a project whose settings hold passwords."""
    module, namespace, line = KINDS[request.param]
    lines = [line.format(name, value, name.upper()) for name, value in SETTINGS.items()]
    (tmp_path / "shop_app.py").write_text(APP.format(module=module, namespace=namespace))
    (tmp_path / "shop_settings.py").write_text("\n".join(["SECRET_KEY = 'x'", *lines]))
    return {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "DJANGO_SETTINGS_MODULE": "shop_settings",
    }


def run(project: dict[str, str], *command: str, **more: str) -> str:
    result = subprocess.run(
        [sys.executable, *command],
        env={**project, **more},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.stdout + result.stderr


def test_celery_report_shows_the_settings_and_no_password(project: dict[str, str]) -> None:
    output = run(project, "-m", "celery", "-A", "shop_app", "report")

    assert "worchflow_database_url" in output.lower()
    assert "worchflow_redis_backend" in output.lower()
    assert PASSWORD not in output


def test_settings_are_read_whatever_their_namespace(project: dict[str, str]) -> None:
    output = run(project, "-c", "import shop_app; print(shop_app.worchflow.settings)")

    assert "prefix='shop'" in output
    assert PASSWORD not in output


@pytest.mark.parametrize(
    "line", ["worchflow_lease_tll = 5", "worchflow_lease_ttl = -5", "worchflow_prefix = 'a b'"]
)
def test_a_worker_with_a_bad_setting_does_not_start_and_names_it(
    project: dict[str, str], tmp_path: Path, line: str
) -> None:
    name, _, value = line.partition(" = ")
    settings = tmp_path / "shop_settings.py"
    settings.write_text(
        f"{settings.read_text()}\n{name} = {value}\nCELERY_{name.upper()} = {value}"
    )

    output = run(project, "-m", "celery", "-A", "shop_app", "worker", "-P", "solo")

    assert f"ImproperlyConfigured: {name}" in output
    assert PASSWORD not in output
