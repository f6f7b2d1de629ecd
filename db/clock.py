"""The database's clock, which decides, as a node without one of its own may read it.

A node whose clock is wrong must expel nobody and admit nobody, so a token's times are held
against the database's: the difference to the node's is measured, at start and now and then.
"""

import time
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from db import maintenance
from db.engine import Database

MAX_OFFSET = 60  # seconds: a node further off is not ready, although it would still decide rightly
MAX_STEP = 1.0  # seconds that the node's clock may stray between two measurements


class Clock:
    """How far the database's clock is ahead of this node's, in seconds; None until measured."""

    def __init__(self) -> None:
        self.offset: float | None = None
        self._uptime = 0.0

    def known(self) -> float | None:
        """The database's time in seconds since 1970, without asking it.

        None the first time, and when somebody set this node's clock or it slept: the measured
        offset is wrong then.
        """
        now = time.time()
        if self.offset is None or abs(now - time.monotonic() - self._uptime) > MAX_STEP:
            return None
        return now + self.offset

    async def now(self, database: Database) -> float:
        """The database's time in seconds since 1970; asks for it if need be. Raises Unavailable."""
        while (now := self.known()) is None:
            await self.measure(database)
        return now

    async def measure(self, database: Database) -> maintenance.Condition:
        """Reads the clock again. Raises Unavailable."""
        condition, self.offset = await database.read(compare)
        self._uptime = time.time() - time.monotonic()  # the same as long as nobody sets the clock
        return condition


async def compare(db: AsyncConnection) -> tuple[maintenance.Condition, float]:
    """The database's condition and its clock's offset; an error of half the round trip remains."""
    sent = time.time()
    condition = await maintenance.condition(db)
    middle = datetime.fromtimestamp((sent + time.time()) / 2, UTC)
    return condition, (condition.now - middle).total_seconds()
