"""The MongoDB server: a replica set of one, since change streams and transactions need a set."""

import socket
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from worchflow_celery.servers.binaries import MONGOD
from worchflow_celery.servers.child import Child, wait_until
from worchflow_celery.servers.launch import HOST, STARTUP, Identity, Launch, failure
from worchflow_celery.servers.server import Server

REPLICA_SET = "rs0"
DATABASE = "worchflow"

#: MongoDB's code for "this set has been initiated before".
ALREADY_INITIALIZED = 23

DEFAULTS = {
    "--oplogSize": "64",
    "--wiredTigerCacheSizeGB": "0.5",
    # By default three journal files of 100 MB are laid out: 300 MB of disk, and a slow restart.
    "--wiredTigerEngineConfigString": "log=(prealloc=false,file_max=16MB)",
}


class MongoServer(Server):
    """A store on disk, the primary and only member of its set."""

    name = MONGOD
    errors = (PyMongoError, ValueError)

    def _url_at(self, port: int) -> str:
        # By the set's name and not by directConnection: after an outage the driver then waits
        # for a primary, as it does in production, where a direct write meets "not primary".
        return f"mongodb://{HOST}:{port}/{DATABASE}?replicaSet={REPLICA_SET}"

    def _command(self, launch: Launch, port: int) -> list[str]:
        fixed = ["--bind_ip", HOST, "--port", str(port), "--dbpath", str(launch.directory)]
        return launch.command([*fixed, "--replSet", REPLICA_SET, "--nounixsocket"], DEFAULTS)

    def _identify(self, port: int) -> Identity | None:
        if not _listens(port):
            return None
        try:
            with _direct(port) as client:
                status = client.admin.command("serverStatus")
        except self.errors:
            return None
        return Identity(pid=int(status["pid"]), version=str(status["version"]))

    def _look(self, url: str) -> tuple[int, str]:
        with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
            version = str(client.server_info()["version"])
            return min(port for _, port in client.nodes if port is not None), version

    def _make_writable(self, child: Child, port: int) -> None:
        what = f"{self.name} on port {port}, on its way to primary,"
        try:
            with _direct(port) as client:
                _form_set(client, f"{HOST}:{port}")
                elected = wait_until(lambda: _ended_or_primary(child, client), within=STARTUP)
        except self.errors as error:
            raise failure(child, what=what) from error
        if not elected or not child.alive:
            raise failure(child, what=what)


def _listens(port: int) -> bool:
    # A MongoClient that finds nobody looks again after half a second: too slow to ask it first.
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _direct(port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient(HOST, port, directConnection=True, serverSelectionTimeoutMS=2000)


def _form_set(client: MongoClient[dict[str, Any]], member: str) -> None:
    config = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
    try:
        client.admin.command("replSetInitiate", config)
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:
            raise
        _move_set(client, member)


def _move_set(client: MongoClient[dict[str, Any]], member: str) -> None:
    """Tell a set whose directory was last served at another port where it lives now."""
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != member:
        config["members"][0]["host"] = member
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def _ended_or_primary(child: Child, client: MongoClient[dict[str, Any]]) -> bool:
    return not child.alive or bool(client.admin.command("hello")["isWritablePrimary"])
