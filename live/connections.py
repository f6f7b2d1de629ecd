"""All that is connected to one process, and what a restart must know of it."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol

import structlog

from auth.errors import RateLimited
from db.bus import Bus
from db.engine import Database
from db.sessions import Key
from live.latency import Latency
from live.watch import Watch

SOCKETS_PER_SESSION = 32  # and process; streams count too
WATCH_TIMEOUT = 2.0  # seconds for a look: what cannot be answered by then is asked anew
REPORT_INTERVAL = 60.0  # seconds between two lines about latency
RETRY_AFTER = 10.0  # seconds for whom there is no room

log = structlog.get_logger()


class Connection(Protocol):
    """An open socket or stream."""

    async def leave(self) -> None:
        """Ends it so that its client comes back: close code 1012, or a cut stream."""


class Connections:
    """The sockets and streams of a process, the bus, and the watch over their sessions.

    `busy` is the number of queries and mutations under way over sockets.
    """

    def __init__(
        self,
        url: str,
        *,
        bus_url: str | None,
        timeout: float,
        pooler: str = "",
        per_address: int = 0,
    ) -> None:
        # Connections of its own: whoever keeps the others busy must not blind it.
        self._database = Database(
            url, timeout=min(timeout, WATCH_TIMEOUT), pool_size=1, pooler=pooler
        )
        self.watch = Watch(self._database, lambda: self.bus.is_listening)
        self.bus = Bus(bus_url, self.watch.told)
        self.latency = Latency()
        self.busy = 0
        self._per_address = per_address
        self._networks: Counter[str] = Counter()
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listens, watches and reports for ever; ends by being cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self.bus.listen, self.watch.run, self.watch.patrol, self._report):
                group.create_task(work())

    async def close(self) -> None:
        """Sends what the bus still has, and lets the database go."""
        await self.bus.close()
        await self._database.close()

    @contextmanager
    def room_for(self, network: str) -> Iterator[None]:
        """A place for one more connection of a network. Raises RateLimited."""
        if self._per_address and self._networks[network] >= self._per_address:
            raise RateLimited(RETRY_AFTER)
        self._networks[network] += 1
        try:
            yield
        finally:
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]

    def is_full(self, key: Key) -> bool:
        """Whether a session has as much open as it may."""
        return self.watch.count(key) >= SOCKETS_PER_SESSION

    @contextmanager
    def opened(self, connection: Connection) -> Iterator[None]:
        """A connection is open for as long as the block lasts."""
        self._open.add(connection)
        try:
            yield
        finally:
            self._open.discard(connection)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A piece of work that outlives its connection: nothing is cancelled midway."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close_all(self) -> None:
        """Sends everybody away to come back: sockets close with 1012, streams are cut."""
        await asyncio.gather(*(each.leave() for each in list(self._open)), return_exceptions=True)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            if figures := self.latency.take():
                log.info("revocations_reached_sockets", **asdict(figures))
