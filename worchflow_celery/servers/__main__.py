"""`python -m worchflow_celery.servers`: both servers, until Ctrl-C."""

import argparse
import shlex
import signal
import sys
from pathlib import Path

from worchflow_celery.servers import Servers, ServersUnavailable, start


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m worchflow_celery.servers",
        description="Run Redis and MongoDB on this machine's loopback until Ctrl-C.",
    )
    parser.add_argument(
        "--directory", type=Path, help="keep the data here (default: temporary, removed at the end)"
    )
    directory: Path | None = parser.parse_args().directory
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        with start(directory) as servers:
            _show(servers)
            while True:
                signal.pause()
    except ServersUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _leave(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut the cleaning short
    raise KeyboardInterrupt


def _show(servers: Servers) -> None:
    urls = {
        "WORCHFLOW_REDIS_URL": servers.redis_url,
        "WORCHFLOW_DATABASE_URL": servers.database_url,
    }
    for variable, url in urls.items():
        print(f"export {variable}={shlex.quote(url)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
