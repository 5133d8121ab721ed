"""What the numbers were measured on."""

import os
import platform
from importlib.metadata import version

from worchflow_celery.servers import Servers


def facts(servers: Servers) -> dict[str, str]:
    """The machine, the interpreter, the libraries, the servers."""
    libraries = ("celery", "kombu", "pymongo", "redis", "pydantic", "worchflow-celery")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
        "mongod": servers.mongod.version,
        "redis-server": servers.redis.version,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
