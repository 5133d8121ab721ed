"""A replica set of three real servers, whose primary may be killed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support import eventually
from worchflow_celery.servers.binaries import MONGOD, locate
from worchflow_celery.servers.child import Child
from worchflow_celery.servers.launch import HOST, Launch, free_port

NAME = "rs0"
#: A new primary comes soon, and a busy machine is not taken for a dead one.
QUICK = {"electionTimeoutMillis": 3000, "heartbeatIntervalMillis": 500}
SMALL = ["--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"]
SHORT_JOURNAL = ["--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=16MB)"]


class Replicas:
    """The members by port, and what is known of them to whoever asks."""

    def __init__(self, members: dict[int, Child], client: "MongoClient[dict[str, Any]]") -> None:
        self._members = members
        self._client = client

    @property
    def url(self) -> str:
        return url_of(self._members)

    def primary(self) -> int:
        """The port of the member that takes writes; wait for one."""
        return eventually(self._written_by, within=40, what="a primary takes a write")

    def kill_primary(self) -> int:
        """SIGKILL; return the port that it had."""
        port = self.primary()
        self._members[port].kill()
        return port

    def _written_by(self) -> int | None:
        try:
            self._client["probe"]["probe"].insert_one({})
        except PyMongoError:
            return None
        return self._client.primary and self._client.primary[1]


def url_of(ports: Any) -> str:
    members = ",".join(f"{HOST}:{port}" for port in ports)
    return f"mongodb://{members}/worchflow?replicaSet={NAME}"


@contextmanager
def three_replicas(directory: Path) -> Iterator[Replicas]:
    """Start them; they take writes, and end with the block."""
    with ExitStack() as opened:
        members = {}
        for port in [free_port() for _ in range(3)]:
            members[port] = start(directory / str(port), port)
            opened.callback(members[port].kill)
        for port in members:
            eventually(lambda port=port: answers(port), within=40, what=f"member {port} answers")
        initiate(list(members))
        client: MongoClient[dict[str, Any]] = MongoClient(
            url_of(members), w="majority", journal=True, timeoutMS=5000
        )
        replicas = Replicas(members, opened.enter_context(client))
        replicas.primary()
        eventually(lambda: len(client.secondaries) == 2, within=40, what="two secondaries")
        yield replicas


def start(directory: Path, port: int) -> Child:
    launch = Launch(locate([MONGOD])[MONGOD], directory, temporary=True)
    fixed = ["--bind_ip", HOST, "--port", str(port), "--dbpath", str(directory)]
    return launch.spawn([str(launch.binary), *fixed, "--replSet", NAME, *SMALL, *SHORT_JOURNAL])


def direct(port: int) -> "MongoClient[dict[str, Any]]":
    return MongoClient(HOST, port, directConnection=True, serverSelectionTimeoutMS=2000)


def answers(port: int) -> bool:
    with direct(port) as client:
        try:
            return bool(client.admin.command("ping"))
        except PyMongoError:
            return False


def initiate(ports: list[int]) -> None:
    members = [{"_id": number, "host": f"{HOST}:{port}"} for number, port in enumerate(ports)]
    with direct(ports[0]) as client:
        config = {"_id": NAME, "members": members, "settings": QUICK}
        client.admin.command("replSetInitiate", config)
