"""What development mode watches, and how its servers come before an app's own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from worchflow_celery import settings
from worchflow_celery.dev.changes import Changes
from worchflow_celery.settings import DEV_VARIABLES


@pytest.mark.parametrize("name", DEV_VARIABLES)
def test_the_servers_of_dev_come_before_the_configuration_and_arguments(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = {"database_url": "mongodb://dev:1/d", "redis_backend": "redis://dev:1/0"}[name]
    monkeypatch.setenv(DEV_VARIABLES[name], url)
    app = Celery("developed", set_as_current=False)

    loaded = settings.load(app, {"database_url": "mongodb://own:1/d"})

    assert getattr(loaded, name) == url


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "flows.py").write_text("1")
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.utime(file, ns=(1, 1)),
        lambda file: file.unlink(),
        lambda file: file.rename(file.with_name("other.py")),
    ],
    ids=["changed", "removed", "renamed"],
)
def test_a_changed_file_is_named_once(project: Path, change: Callable[[Path], None]) -> None:
    changes = Changes(project)

    change(project / "shop" / "flows.py")

    assert changes.look() == "shop/flows.py"
    assert changes.look() is None


def test_a_new_file_is_a_change(project: Path) -> None:
    changes = Changes(project)

    (project / "new.py").touch()

    assert changes.look() == "new.py"


@pytest.mark.parametrize(
    "path", [".git/hook.py", "venv/lib/x.py", "node_modules/x.py", "shop/__pycache__/x.py", "a.txt"]
)
def test_what_is_not_the_projects_code_is_not_watched(project: Path, path: str) -> None:
    (project / "venv").mkdir()
    (project / "venv" / "pyvenv.cfg").touch()
    changes = Changes(project)

    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).touch()

    assert changes.look() is None
