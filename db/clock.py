"""The database's clock, which decides, as a node without one of its own may read it.

A node whose clock is wrong must expel nobody and admit nobody, so a token's times are held
against the database's: the difference to the node's is measured, at start and now and then.
"""

import time
from datetime import UTC, datetime

from db import maintenance
from db.engine import Database

MAX_OFFSET = 60  # seconds: a node further off is not ready, although it would still decide rightly


class Clock:
    """How far the database's clock is ahead of this node's, in seconds; None until measured."""

    def __init__(self) -> None:
        self.offset: float | None = None

    async def now(self, database: Database) -> float:
        """The database's time in seconds since 1970; only the first call asks it.

        Raises Unavailable.
        """
        if self.offset is None:
            await self.measure(database)
        return time.time() + (self.offset or 0.0)

    async def measure(self, database: Database) -> maintenance.Condition:
        """Reads the clock again; an error of half the round trip remains. Raises Unavailable."""
        sent = time.time()
        condition = await database.read(maintenance.condition)
        middle = datetime.fromtimestamp((sent + time.time()) / 2, UTC)
        self.offset = (condition.now - middle).total_seconds()
        return condition
