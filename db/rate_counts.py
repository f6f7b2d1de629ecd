"""Counters that all workers share: how often something was done in the window of its first time.

A key says what is counted and for whom: `guest 203.0.113.7/32`.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from db.direct import Statements
from db.statements import text

WINDOW = timedelta(minutes=1)  # in which guests are counted


class Counted(NamedTuple):
    """What came of a count up to a limit."""

    allowed: int  # times that were still allowed
    wait: float  # seconds to the window's end


async def count_up_to(
    db: Statements, times: Mapping[str, int], *, limit: int, window: timedelta
) -> dict[str, Counted]:
    """Counts each key so many times more, those of them that are still allowed.

    The count is the transaction's: what is rolled back was not done. Others of the same key wait
    for its end, so that the count is exact; in the order of the keys, so that nobody deadlocks.
    Where the limit is used up nothing is written, as often as somebody tries.
    """
    counted = await db.execute(
        text("""
            INSERT INTO rate_counts AS c (key, ends_at, made)
            SELECT n.key, now() + CAST(:window AS interval), n.times
            FROM unnest(CAST(:keys AS text[]), CAST(:times AS integer[])) AS n (key, times)
            ORDER BY n.key
            ON CONFLICT (key) DO UPDATE
            SET ends_at = CASE WHEN c.ends_at > now() THEN c.ends_at ELSE excluded.ends_at END,
                made = CASE WHEN c.ends_at > now() THEN c.made ELSE 0 END + excluded.made
            WHERE c.ends_at <= now() OR c.made < :limit
            RETURNING c.key, c.made, extract(epoch FROM c.ends_at - now())
        """),
        {"keys": list(times), "times": list(times.values()), "window": window, "limit": limit},
    )
    longest = window.total_seconds()
    found = {
        # Who has waited for another's transaction is told its clock, which is ahead.
        key: Counted(min(times[key], limit - made + times[key]), min(float(wait), longest))
        for key, made, wait in counted
    }
    if len(found) < len(times):
        full = await db.execute(
            text("""
                SELECT key, extract(epoch FROM ends_at - now()) FROM rate_counts
                WHERE key = ANY(:keys)
            """),
            {"keys": list(times.keys() - found.keys())},
        )
        found |= {key: Counted(0, min(float(wait), longest)) for key, wait in full}
    return found


async def count(db: AsyncConnection, key: str, *, window: timedelta) -> tuple[int, float]:
    """Counts once more: how often, this time included, and the seconds to the window's end."""
    counted = await db.execute(
        text("""
            INSERT INTO rate_counts AS c (key, ends_at, made)
            VALUES (:key, now() + CAST(:window AS interval), 1)
            ON CONFLICT (key) DO UPDATE
            SET ends_at = CASE WHEN c.ends_at > now() THEN c.ends_at ELSE excluded.ends_at END,
                made = CASE WHEN c.ends_at > now() THEN c.made + 1 ELSE 1 END
            RETURNING c.made, extract(epoch FROM c.ends_at - now())
        """),
        {"key": key, "window": window},
    )
    made, left = counted.one()
    return made, float(left)


async def take_back(db: Statements, key: str) -> None:
    """Counts once less: what was counted was not what is to be limited."""
    await db.execute(
        text("""
            UPDATE rate_counts SET made = made - 1
            WHERE key = :key AND made > 0 AND ends_at > now()
        """),
        {"key": key},
    )
