"""The monitor's process: `python -P -m web --workspace DIR`; ends with its parent, one per workspace."""

import argparse
import errno
import ipaddress
import logging
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from db.engine import LogUnreadable
from db.processes import RoleLock, RoleTaken, Stop, die_with_parent, show_places_when_asked
from db.workspace import Workspace, find
from web.app import create_app
from web.monitor import Monitor

REFUSED = 3
PORT_TAKEN = 98
GRACE_SECONDS = 1


class Server(uvicorn.Server):
    """Ends its live streams first, for they would never end by themselves."""

    monitor: Monitor | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.end_streams()

    def end_streams(self) -> None:
        """In a signal handler or in the loop: both are the main thread."""
        if self.monitor is not None:
            self.monitor.hub.close()


def listen(host: str, port: int) -> list[socket.socket]:
    """The sockets; on the loopback of both families: `localhost` may mean either. Raises OSError."""
    first = _bind(host, port)
    found, port = [first], first.getsockname()[1]
    if host == "127.0.0.1" and socket.has_ipv6:
        try:
            found.append(_bind("::1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                first.close()
                raise
    return found


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in host:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    bound.set_inheritable(False)
    return bound


def main(arguments: list[str] | None = None) -> int:
    """Serve until asked to stop. Exit codes: 0 stopped, 1 failed, 2 usage, 3 refused, 98 port taken."""
    die_with_parent()
    show_places_when_asked()
    parser = argparse.ArgumentParser(prog="python -m web", description="The monitor of one workspace.")
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args(arguments)
    host = "127.0.0.1" if given.host == "localhost" else given.host.strip("[]")
    if not _is_loopback(host):
        parser.error(
            f"--host {given.host}: the monitor has no login, so it listens on 127.0.0.1 or ::1 only. "
            f"From another machine: ssh -L {given.port}:localhost:{given.port} THIS-MACHINE"
        )
    stop = Stop().install()
    workspace = find(given.workspace)
    try:
        with RoleLock(workspace.locks, "monitor"):
            return _serve(workspace, listen(host, given.port), stop)
    except (RoleTaken, LogUnreadable) as error:
        print(f"evertrain monitor: {error}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(
            f"evertrain monitor: port {given.port} on {host} is taken by another program; "
            "training goes on without a page. Choose another with --port.",
            file=sys.stderr,
        )
        return PORT_TAKEN


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _serve(workspace: Workspace, sockets: list[socket.socket], stop: Stop) -> int:
    server: Server | None = None

    def failed() -> None:
        if server is not None:
            server.should_exit = True

    app = create_app(workspace, failed=failed)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=256, lifespan="on", ws="none", h11_max_incomplete_event_size=32_768,
    )  # fmt: skip
    server = Server(config)
    server.monitor = app.state.monitor
    port = sockets[0].getsockname()[1]
    print(f"evertrain monitor: http://localhost:{port}", file=sys.stderr, flush=True)
    if not stop:  # asked to stop while starting
        server.run(sockets=sockets)
    return 1 if app.state.monitor.failed else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(main())
