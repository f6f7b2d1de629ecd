"""uvicorn's server with an order of its own for leaving: it serves on until nobody comes any more.

/readyz says 503 and answers carry Connection: close (SHUTDOWN_DELAY) → no new connections → what is
under way is finished → sockets and streams are closed → activity is written down. uvicorn itself
would begin with closing.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from socket import socket
from types import FrameType
from typing import Any

import structlog
import uvicorn

from server import parent
from server.http import Protocol
from web.departure import Departure

SHUTDOWN_TIMEOUT = 10  # seconds for what is under way, more than DATABASE_TIMEOUT's default
LAST_CALL = 1.0  # seconds in which an idle connection is still answered, before it is closed
CUT_TIMEOUT = 1.0  # seconds for what was closed, and then for what was cut, to end
TICK = 0.05  # seconds
SAME = 1.0  # seconds in which two signals are one, told by two: make passes on what it gets

log = structlog.get_logger()


class Server(uvicorn.Server):
    """One process's server. delay: seconds of serving on after the signal."""

    def __init__(self, config: uvicorn.Config, *, delay: float) -> None:
        super().__init__(config)
        self._delay = delay
        self._is_relieved = False

    def relieve(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler: leaves without notice, because others serve on."""
        del number, frame
        self._is_relieved = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Leaves, step by step; a second signal passes over what is left."""
        departure: Departure = self.lifespan.state.get("departure") or Departure()
        departure.begin(announced=not self._is_relieved)
        for connection in self.server_state.connections:
            if isinstance(connection, Protocol):
                connection.take_long_way()  # where it can be cut
        await self._serve_on()
        self._stop_listening(sockets or [])
        await self._finish(departure)
        if not self.force_exit:
            await departure.close_all()
        await self._cut()
        if not self.force_exit:
            await self.lifespan.shutdown()

    async def _serve_on(self) -> None:
        """As before, for the delay: load balancers need time to look elsewhere."""
        end, ticks = time.monotonic() + self._delay, 0
        while time.monotonic() < end and not self._is_hurried:
            await asyncio.sleep(TICK)
            ticks += 1
            await self.on_tick(ticks)  # keeps the header Date true

    @property
    def _is_hurried(self) -> bool:
        return self.force_exit or self._is_relieved or parent.is_gone.is_set()

    def _stop_listening(self, sockets: list[socket]) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()

    async def _finish(self, departure: Departure) -> None:
        """Until nothing is under way and every answer has been taken; not for ever."""
        last_call = time.monotonic() + LAST_CALL
        end = time.monotonic() + SHUTDOWN_TIMEOUT
        await asyncio.sleep(TICK)  # what was accepted at the last moment becomes a connection
        while self._is_needed(departure) and time.monotonic() < end and not self.force_exit:
            if time.monotonic() > last_call:
                self._close_idle()
            await asyncio.sleep(TICK)

    def _is_needed(self, departure: Departure) -> bool:
        """Whether a connection is open that is no stream, or anything is under way."""
        return departure.is_busy or len(self._http_connections()) > departure.streams

    def _http_connections(self) -> list[Any]:
        of_http = self.config.http_protocol_class
        return [one for one in self.server_state.connections if isinstance(one, of_http)]

    def _close_idle(self) -> None:
        """Closes those without a request; the others will be, after their answer."""
        for connection in self._http_connections():
            if not connection.transport.is_closing():
                connection.shutdown()

    async def _cut(self) -> None:
        """Ends what does not end by itself, now that it was closed."""
        if self.server_state.tasks and not self.force_exit:
            await asyncio.wait(set(self.server_state.tasks), timeout=CUT_TIMEOUT)
        if tasks := set(self.server_state.tasks):
            log.warning("requests_cut", count=len(tasks))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CUT_TIMEOUT)
        for connection in list(self.server_state.connections):
            connection.shutdown()


class OnlyServer(Server):
    """The server of a process that has no parent to take signals for it.

    hangs_up: whether SIGHUP means the end, asked when it comes.
    """

    def __init__(
        self, config: uvicorn.Config, *, delay: float, hangs_up: Callable[[], bool]
    ) -> None:
        super().__init__(config, delay=delay)
        self._hangs_up = hangs_up
        self._told_at: float | None = None
        self._is_hung_up = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: leave in order. Another one, later: at once."""
        del sig, frame
        now = time.monotonic()
        self._told_at = self._told_at or now
        self.force_exit = now - self._told_at >= SAME
        self.should_exit = True

    def hang_up(self, number: int, frame: FrameType | None) -> None:
        """SIGHUP's handler; it is looked at within a moment."""
        del number, frame
        self._is_hung_up = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave; asked ten times a second."""
        if self._is_hung_up:
            self._is_hung_up = False
            if self._hangs_up():
                parent.is_gone.set()
                signal.raise_signal(signal.SIGTERM)
            else:
                log.warning("not_rolled", hint="One worker has nobody to relieve it: WORKERS=2")
        return await super().on_tick(counter)
