"""How the processes of a worker learn that it shuts down."""

import os
from collections.abc import Callable

import pytest

from worchflow_celery.shutdown import Phase, Shutdown

# The forked processes read one byte and end: other threads of the tests cannot harm them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def in_a_forked_process(look: Callable[[], int]) -> int:
    """Fork as a pool does; return what the child saw."""
    child = os.fork()
    if child == 0:
        os._exit(look())
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("shared", [False, True])
def test_it_has_not_begun_before_it_begins(shared: bool) -> None:
    shutdown = Shutdown()
    if shared:
        shutdown.share()

    assert shutdown.phase is Phase.RUNNING
    assert not shutdown.begun


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("phase", [Phase.WARM, Phase.COLD])
def test_it_has_begun_once_it_is_told(shared: bool, phase: Phase) -> None:
    shutdown = Shutdown()
    if shared:
        shutdown.share()

    shutdown.begin(phase)

    assert shutdown.phase is phase
    assert shutdown.begun


def test_a_cold_shutdown_is_more_urgent_than_a_warm_one() -> None:
    assert Phase.RUNNING < Phase.WARM < Phase.COLD


@pytest.mark.parametrize("phase", [Phase.WARM, Phase.COLD])
def test_a_process_that_was_forked_before_learns_of_it(phase: Phase) -> None:
    shutdown = Shutdown()
    shutdown.share()
    ready, go = os.pipe()

    def wait_and_look() -> int:
        os.read(ready, 1)
        return int(shutdown.phase)

    child = os.fork()
    if child == 0:
        os._exit(wait_and_look())
    shutdown.begin(phase)
    os.write(go, b"x")
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == phase
    os.close(ready)
    os.close(go)


def test_the_main_process_learns_of_what_a_forked_one_began() -> None:
    shutdown = Shutdown()
    shutdown.share()

    in_a_forked_process(lambda: shutdown.begin(Phase.WARM) or 0)

    assert shutdown.begun


def test_a_process_without_a_worker_keeps_it_to_itself() -> None:
    shutdown = Shutdown()

    in_a_forked_process(lambda: shutdown.begin(Phase.WARM) or 0)

    assert not shutdown.begun


def test_a_worker_that_starts_again_in_the_same_process_runs() -> None:
    shutdown = Shutdown()
    shutdown.share()
    shutdown.begin(Phase.WARM)

    shutdown.share()

    assert not shutdown.begun


@pytest.mark.parametrize("shared", [False, True])
def test_a_process_that_goes_on_after_its_worker_runs(shared: bool) -> None:
    shutdown = Shutdown()
    if shared:
        shutdown.share()
    shutdown.begin(Phase.COLD)

    shutdown.end()

    assert not shutdown.begun


def test_two_apps_do_not_share_one_page() -> None:
    first, second = Shutdown(), Shutdown()
    first.share()
    second.share()

    first.begin(Phase.COLD)

    assert not second.begun
