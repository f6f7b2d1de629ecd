"""One connection at a time, in one process, for what would wait for each other in the database.

A user's writes wait at the user's row, sign-ins with one code or under one key at theirs. If each
waited there with a connection in its hand, one busy client would hold the whole pool, and everybody
else would wait for that client.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from db.engine import Unavailable


class Turns:
    """Whose turn it is, for each user, code, key or network that somebody waits for."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, what: Hashable, *, deadline: float) -> AsyncIterator[None]:
        """Waits for one's turn, in the order of coming. Raises Unavailable at the deadline."""
        lock = self._locks.setdefault(what, asyncio.Lock())
        async with taken(lock, deadline, "too much of the same is under way"):
            yield


@asynccontextmanager
async def taken(
    turns: asyncio.Lock | asyncio.Semaphore, deadline: float, why: str
) -> AsyncIterator[None]:
    """A turn. Raises Unavailable at the deadline, with this reason for the log."""
    try:
        async with asyncio.timeout_at(deadline):
            await turns.acquire()
    except TimeoutError:
        raise Unavailable(why) from None
    try:
        yield
    finally:
        turns.release()
