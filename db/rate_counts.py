"""Counters that all workers share: how often something was done in the window of its first time.

A key says what is counted and for whom: `guest 203.0.113.7/32`.
"""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from db.statements import text

WINDOW = timedelta(minutes=1)  # in which guests are counted


async def count_up_to(
    db: AsyncConnection, key: str, *, limit: int, window: timedelta
) -> float | None:
    """Counts once more; None, or the seconds to wait where the limit is used up.

    The count is the transaction's: what is rolled back was not done. Others of the same key wait
    for its end, so that the count is exact.
    """
    counted = await db.execute(
        text("""
            INSERT INTO rate_counts AS c (key, ends_at, made)
            VALUES (:key, now() + CAST(:window AS interval), 1)
            ON CONFLICT (key) DO UPDATE
            SET ends_at = CASE WHEN c.ends_at > now() THEN c.ends_at ELSE excluded.ends_at END,
                made = CASE WHEN c.ends_at > now() THEN c.made + 1 ELSE 1 END
            WHERE c.ends_at <= now() OR c.made < :limit
            RETURNING c.key
        """),
        {"key": key, "window": window, "limit": limit},
    )
    if counted.one_or_none():
        return None
    left = await db.execute(
        text("SELECT extract(epoch FROM ends_at - now()) FROM rate_counts WHERE key = :key"),
        {"key": key},
    )
    return float(left.scalar_one())


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


async def take_back(db: AsyncConnection, key: str) -> None:
    """Counts once less: it was no guess but the right answer."""
    await db.execute(
        text("""
            UPDATE rate_counts SET made = made - 1
            WHERE key = :key AND made > 0 AND ends_at > now()
        """),
        {"key": key},
    )
