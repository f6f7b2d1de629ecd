"""Times as PostgreSQL sends them: each is worked out once, for a session says the same again.

asyncpg adds an interval to the year 2000 for every value that it reads: 0.55 µs, and a list of five
sessions has some thirty. Of those that were read before 0.15 is left.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
LATEST, EARLIEST = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
KEPT = 32_768  # times, some 250 bytes each


def remember_times(connection: Any, *_: object) -> None:
    """Has a new connection of SQLAlchemy's read and write `timestamptz` this way."""
    connection.run_async(
        lambda driver: driver.set_type_codec(
            "timestamptz",
            schema="pg_catalog",
            format="tuple",  # of one: microseconds since the epoch
            encoder=to_microseconds,
            decoder=from_microseconds,
        )
    )


@lru_cache(maxsize=KEPT)
def from_microseconds(sent: tuple[int]) -> datetime:
    """A time, in UTC; the farthest there is for PostgreSQL's infinities, as asyncpg has it."""
    try:
        return EPOCH + sent[0] * MICROSECOND
    except OverflowError:
        return LATEST if sent[0] > 0 else EARLIEST


def to_microseconds(time: datetime) -> tuple[int]:
    """A time as PostgreSQL counts. Raises TypeError for one without a zone: nobody knows when."""
    return ((time - EPOCH) // MICROSECOND,)
