"""What systemd hears of the service: ready, alive, stopping. Nothing when it was not started by systemd.

The protocol of sd_notify(3): datagrams of NAME=VALUE lines to the socket that $NOTIFY_SOCKET names.
"""

import contextlib
import os
import socket
from collections.abc import Mapping


class Systemd:
    """The unit's socket, if there is one; what cannot be sent is dropped, for systemd may be gone."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name  # @: no file, an abstract name
        asked = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        every = int(environment.get("WATCHDOG_USEC", "0")) if asked else 0
        self._every, self._next = every / 2_000_000, 0.0  # seconds: half the patience of the unit

    def ready(self) -> None:
        """Everything is set up: units that wait for this one may start."""
        self._send("READY=1")

    def alive(self, now: float) -> None:
        """The loop has turned; said often enough for WatchdogSec. `now`: monotonic seconds."""
        if self._every and now >= self._next:
            self._next = now + self._every
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.setblocking(False)  # when nobody reads, the watchdog is not to wait
                to.sendto(text.encode(), self._address)
