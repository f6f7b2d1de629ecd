"""One connection at a time for a user's writes in one process.

They wait for each other at the user's row anyway. If each waited there with a connection in its
hand, one busy user would hold the whole pool, and everybody else would wait for that user.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from db.engine import Unavailable


class Turns:
    """Whose turn it is, for each user who has somebody waiting."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, user_id: UUID, *, deadline: float) -> AsyncIterator[None]:
        """Waits for the user's turn, in the order of coming. Raises Unavailable at the deadline."""
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        try:
            async with asyncio.timeout_at(deadline):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("the user has too many writes under way") from None
        try:
            yield
        finally:
            lock.release()
