"""The servers that everything else is tested with: they start, suffer, and never outlive us.

Longer than our files may be, so that one mongod, started once, serves all of its tests.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from worchflow_celery.servers import RedisServer, Servers, ServersUnavailable, start
from worchflow_celery.servers.binaries import MONGOD, REDIS, VARIABLES, locate, package_folders
from worchflow_celery.servers.launch import Launch, free_port

ROOT = Path(__file__).parents[2]

#: Starts a Redis from a thread that ends, forks a child that stays, and waits.
THREAD_AND_FORK = """
import os, signal, sys, threading
from pathlib import Path
from worchflow_celery.servers import RedisServer
from worchflow_celery.servers.launch import Launch

server = RedisServer(Launch(Path(sys.argv[1]), Path(sys.argv[2])))
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
child = os.fork()
if child == 0:
    signal.pause()
print(server.pid, child, flush=True)
signal.pause()
"""


def eventually(condition: Callable[[], bool], *, within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def session_of(leader: int) -> list[int]:
    """Return the processes that live in a server's session: itself and its guard."""
    return [
        pid
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
        if alive(pid) and _session(pid) == leader
    ]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def redis_pid(url: str, *, timeout: float = 5) -> int:
    with redis.Redis.from_url(url, socket_timeout=timeout) as client:
        return int(client.info("server")["process_id"])


def mongo(url: str, **options: Any) -> MongoClient[dict[str, Any]]:
    return MongoClient(url, **options)


def mongod_pid(url: str, *, timeout: float = 5) -> int:
    with mongo(url, timeoutMS=int(timeout * 1000)) as client:
        return int(client.admin.command("serverStatus")["pid"])


def write(servers: Servers, name: str) -> None:
    with mongo(servers.database_url) as client:
        client.get_default_database().notes.insert_one({"_id": name})


def written(servers: Servers) -> list[str]:
    with mongo(servers.database_url) as client:
        return sorted(note["_id"] for note in client.get_default_database().notes.find())


@pytest.fixture(scope="module", autouse=True)
def nothing_in_the_environment() -> Iterator[None]:
    """Forget the URLs of a CI's servers: this file is about servers of our own."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(scope="module")
def binaries() -> dict[str, Path]:
    try:
        return locate([REDIS, MONGOD])
    except ServersUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def servers(binaries: dict[str, Path]) -> Iterator[Servers]:
    with start() as servers:
        yield servers


@pytest.fixture
def launch(binaries: dict[str, Path], tmp_path: Path) -> Launch:
    """A Redis, for what is the same with both: it starts in no time."""
    return Launch(binaries[REDIS], tmp_path / "redis")


def test_the_servers_that_answer_are_the_ones_we_started(servers: Servers) -> None:
    assert redis_pid(servers.redis_url) == servers.redis.pid
    assert mongod_pid(servers.database_url) == servers.mongod.pid
    assert servers.redis.owned
    assert servers.mongod.owned
    assert re.match(r"\d+\.\d+\.\d+", servers.redis.version)
    assert re.match(r"\d+\.\d+\.\d+", servers.mongod.version)


def test_mongod_serves_change_streams(servers: Servers) -> None:
    with (
        mongo(servers.database_url) as client,
        client.get_default_database().watched.watch(max_await_time_ms=5000) as stream,
    ):
        client.get_default_database().watched.insert_one({"_id": "seen"})

        assert stream.next()["documentKey"] == {"_id": "seen"}


def test_mongod_comes_back_from_a_restart_with_its_port_and_its_data(servers: Servers) -> None:
    write(servers, "before the restart")
    port, pid = servers.mongod.port, servers.mongod.pid

    servers.mongod.restart()

    assert servers.mongod.port == port
    assert servers.mongod.pid != pid
    assert "before the restart" in written(servers)
    write(servers, "after the restart")


def test_mongod_comes_back_from_a_crash_with_what_was_acknowledged(servers: Servers) -> None:
    write(servers, "before the crash")
    url = servers.database_url

    servers.mongod.kill()
    assert not servers.mongod.running
    servers.mongod.start()

    assert servers.database_url == url
    assert "before the crash" in written(servers)


def test_a_killed_redis_starts_again_on_its_port(launch: Launch) -> None:
    with RedisServer(launch) as server:
        port, pid = server.port, server.pid

        server.kill()
        assert eventually(lambda: not session_of(pid))
        server.start()

        assert server.port == port
        assert redis_pid(server.url) == server.pid != pid


def test_a_paused_redis_answers_once_it_is_resumed(servers: Servers) -> None:
    servers.redis.pause()
    try:
        with pytest.raises(redis.RedisError):
            redis_pid(servers.redis_url, timeout=0.2)
    finally:
        servers.redis.resume()

    assert redis_pid(servers.redis_url) == servers.redis.pid


def test_a_paused_mongod_answers_once_it_is_resumed(servers: Servers) -> None:
    servers.mongod.pause()
    try:
        with pytest.raises(PyMongoError):
            mongod_pid(servers.database_url, timeout=0.2)
    finally:
        servers.mongod.resume()

    assert mongod_pid(servers.database_url) == servers.mongod.pid


def test_a_paused_server_can_be_stopped(launch: Launch) -> None:
    with RedisServer(launch) as server:
        pid = server.pid
        server.pause()
        server.pause()

    assert not alive(pid)


def test_stop_ends_every_process_and_removes_the_directory(binaries: dict[str, Path]) -> None:
    servers = start()
    pids = [servers.redis.pid, servers.mongod.pid]
    assert [len(session_of(pid)) for pid in pids] == [2, 2]

    servers.stop()
    servers.stop()

    assert eventually(lambda: not any(session_of(pid) for pid in pids))
    assert not servers.directory.exists()


def test_a_given_directory_is_kept_and_found_again(
    binaries: dict[str, Path], tmp_path: Path
) -> None:
    with start(tmp_path / "kept") as first:
        write(first, "from the first life")
        first.mongod.kill()

    with start(tmp_path / "kept") as second:
        assert second.database_url != first.database_url
        assert written(second) == ["from the first life"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_and_no_file_outlives_the_program(
    binaries: dict[str, Path], tmp_path: Path, number: signal.Signals
) -> None:
    with _program(
        "-m", "worchflow_celery.servers", environment={"TMPDIR": str(tmp_path)}
    ) as program:
        urls = dict(_exported(program) for _ in VARIABLES)
        pids = [
            redis_pid(urls["WORCHFLOW_REDIS_URL"]),
            mongod_pid(urls["WORCHFLOW_DATABASE_URL"]),
        ]
        assert len(os.listdir(tmp_path)) == 1

        program.send_signal(number)

        assert program.wait(10) == (-number if number is signal.SIGKILL else 0)
        assert eventually(lambda: not any(session_of(pid) for pid in pids))
        assert eventually(lambda: not os.listdir(tmp_path))


def test_a_server_outlives_the_thread_that_started_it_but_not_the_process(
    launch: Launch,
) -> None:
    with _program("-c", THREAD_AND_FORK, str(launch.binary), str(launch.directory)) as program:
        pid, fork = map(int, _line(program).split())
        try:
            assert alive(pid)

            program.kill()

            assert eventually(lambda: not session_of(pid))
            assert alive(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_missing_programs_are_named_with_three_ways_to_get_them() -> None:
    with pytest.raises(ServersUnavailable) as caught:
        locate([REDIS, MONGOD], path="", folders=lambda _: [])

    message = str(caught.value)
    assert "no redis-server and no mongod" in message
    assert "on PATH" in message
    assert "WORCHFLOW_TEST_REDIS_URL and WORCHFLOW_TEST_DATABASE_URL" in message
    assert 'pip install "worchflow-celery[embedded]"' in message


def test_a_program_on_path_comes_before_the_one_in_a_wheel(tmp_path: Path) -> None:
    on_path = _executable(tmp_path / "path" / REDIS)
    in_wheel = _executable(tmp_path / "wheel" / "bin" / REDIS)

    def find(path: Path) -> Path:
        return locate([REDIS], path=str(path), folders=lambda _: [tmp_path / "wheel"])[REDIS]

    assert find(on_path.parent) == on_path
    assert find(tmp_path / "nowhere") == in_wheel


def test_a_package_that_is_not_installed_has_no_folders() -> None:
    assert package_folders("no_such_package") == []


def test_a_server_from_the_environment_is_used_and_left_alone(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[REDIS], servers.redis_url)
    monkeypatch.setenv(VARIABLES[MONGOD], servers.database_url)

    with start() as borrowed:
        assert borrowed.redis_url == servers.redis_url
        assert borrowed.database_url == servers.database_url
        for server in (borrowed.redis, borrowed.mongod):
            assert not server.owned
            for forbidden in (server.kill, server.pause, server.resume, server.restart):
                with pytest.raises(ServersUnavailable, match="was not started here"):
                    forbidden()
        assert borrowed.redis.port == servers.redis.port
        assert borrowed.mongod.port == servers.mongod.port
        assert borrowed.mongod.version == servers.mongod.version

    assert redis_pid(servers.redis_url) == servers.redis.pid
    assert mongod_pid(servers.database_url) == servers.mongod.pid


@pytest.mark.parametrize("place", ["127.0.0.1:{port}/0", "127.0.0.1:port/0", "?password=hunter2"])
def test_no_message_tells_the_password_of_a_url(
    monkeypatch: pytest.MonkeyPatch, binaries: dict[str, Path], place: str
) -> None:
    url = "redis://ann:hunter2@" + place.format(port=free_port())
    monkeypatch.setenv(VARIABLES[REDIS], url)

    with pytest.raises(ServersUnavailable, match=r"redis://ann:\*\*\*@") as caught:
        start()

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_lost_race_for_a_port_is_run_again_with_another(launch: Launch) -> None:
    with socket.socket() as rival:
        rival.bind(("127.0.0.1", 0))
        taken = rival.getsockname()[1]
        ports = iter([taken, free_port()])
        contested = Launch(launch.binary, launch.directory, pick_port=lambda: next(ports))

        with RedisServer(contested) as server:
            assert server.port != taken


def test_a_server_that_we_did_not_start_is_never_taken_for_ours(
    servers: Servers, launch: Launch
) -> None:
    theirs = servers.redis
    contested = Launch(launch.binary, launch.directory, pick_port=lambda: theirs.port)

    with pytest.raises(ServersUnavailable, match=r"not started here|already in use"):
        RedisServer(contested).start()

    assert theirs.running


def test_a_failed_start_shows_the_last_lines_of_the_log(launch: Launch) -> None:
    broken = Launch(launch.binary, launch.directory, options=("--no-such-option", "1"))

    with pytest.raises(ServersUnavailable, match=r"last lines of its log:\n(.*\n)*.*no-such"):
        RedisServer(broken).start()


def test_an_option_replaces_the_default_of_the_same_name(launch: Launch) -> None:
    keeping = Launch(launch.binary, launch.directory, options=("--appendonly", "yes"))
    with RedisServer(keeping) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")

        server.restart()

        assert client.get("kept") == b"yes"


def _executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return path


def _program(*arguments: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    return program.stdout.readline()


def _exported(program: "subprocess.Popen[str]") -> tuple[str, str]:
    command, assignment = shlex.split(_line(program))
    assert command == "export"
    variable, _, url = assignment.partition("=")
    return variable, url
