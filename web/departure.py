"""How this process leaves: what it waits for, and what it closes at last.

The server (server/leaving.py) goes through the steps; what holds connections of its own, sockets
or streams, is added to the list and says what it has under way.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

log = structlog.get_logger()


class Connected(Protocol):
    """Holds connections that outlive a request."""

    @property
    def busy(self) -> int:
        """Operations under way, that an end of the process waits for."""

    async def close_all(self) -> None:
        """Ends every connection in a way that makes its client come back."""


class Departure:
    """What is under way in one process, and whether it is leaving."""

    def __init__(self) -> None:
        self.has_begun = False  # answers end their connections
        self.is_announced = False  # /readyz says so: nobody else serves on this address
        self.requests = 0  # under way
        self.streams = 0  # of these, those that end only when somebody ends them
        self.connected: list[Connected] = []

    def begin(self, *, announced: bool) -> None:
        """From now on this process is leaving; announced: the whole server is."""
        self.has_begun = True
        self.is_announced = announced

    @contextmanager
    def stream(self) -> Iterator[None]:
        """The part of a request that nobody waits for: an event stream, which close_all() cuts."""
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way that is to be finished."""
        return self.requests > self.streams or any(one.busy for one in self.connected)

    async def close_all(self) -> None:
        """Closes sockets and cuts streams. A failure of one keeps nobody from leaving."""
        ends = (one.close_all() for one in self.connected)
        for failure in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(failure, Exception):
                log.error("closing_failed", error=type(failure).__name__)
