"""Statements about how many guests each network made: one counter for all workers."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WINDOW = timedelta(minutes=1)  # from a network's first guest on


async def count_one_more(db: AsyncConnection, network: str, *, limit: int) -> float | None:
    """Counts a guest of a network; None, or the seconds to wait where the limit is used up.

    The count is the transaction's: what is rolled back was no guest. Others of the same network
    wait for its end, so that the count is exact.
    """
    counted = await db.execute(
        text("""
            INSERT INTO guest_counts AS c (network, ends_at, made)
            VALUES (:network, now() + CAST(:window AS interval), 1)
            ON CONFLICT (network) DO UPDATE
            SET ends_at = CASE WHEN c.ends_at > now() THEN c.ends_at ELSE excluded.ends_at END,
                made = CASE WHEN c.ends_at > now() THEN c.made + 1 ELSE 1 END
            WHERE c.ends_at <= now() OR c.made < :limit
            RETURNING c.network
        """),
        {"network": network, "window": WINDOW, "limit": limit},
    )
    if counted.one_or_none():
        return None
    left = await db.execute(
        text("""
            SELECT extract(epoch FROM ends_at - now()) FROM guest_counts WHERE network = :network
        """),
        {"network": network},
    )
    return float(left.scalar_one())
