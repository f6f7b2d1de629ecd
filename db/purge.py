"""Statements of the cleanup. It works in batches and at any user's rows, so no owner comes in."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LOCK = 0x62_69_67_32  # "big2": any constant that no other program uses here

# Ended longer ago than the retention, by its deadline or by a revocation. Each arm has its index;
# of a session that was never revoked the second arm is NULL.
PURGEABLE = """
    (s.expires_at < now() - CAST(:retention AS interval)
     OR s.revoked_at < now() - CAST(:retention AS interval))
"""

# A guest without a session. Whoever has a role stays, whatever became of the sessions.
ABANDONED = """
    (u.is_guest AND u.role IS NULL
     AND NOT EXISTS (SELECT FROM user_sessions s WHERE s.user_id = u.id))
"""


async def take_lock(db: AsyncConnection) -> bool:
    """Whether this transaction is now the only one that cleans up; ends with the transaction."""
    taken = await db.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK})
    return bool(taken.scalar_one())


async def delete_sessions(db: AsyncConnection, *, retention: timedelta, limit: int) -> list[UUID]:
    """Deletes at most `limit` sessions that ended long ago; their owners' ids, one per session.

    Keys are selected first and the condition is repeated at the delete, so that a batch locks
    only what it deletes and deletes only what still qualifies.
    """
    deleted = await db.execute(
        text(f"""
            DELETE FROM user_sessions s
            WHERE (s.user_id, s.id) IN (
                SELECT s.user_id, s.id FROM user_sessions s WHERE {PURGEABLE} LIMIT :limit
            ) AND {PURGEABLE}
            RETURNING s.user_id
        """),  # noqa: S608 - constants
        {"retention": retention, "limit": limit},
    )
    return list(deleted.scalars())


async def next_users(db: AsyncConnection, after: UUID, limit: int) -> list[UUID]:
    """The ids of the users that follow one, in the order of the key: a sweep's next step."""
    ids = await db.execute(
        text("SELECT id FROM users WHERE id > :after ORDER BY id LIMIT :limit"),
        {"after": after, "limit": limit},
    )
    return list(ids.scalars())


async def delete_abandoned(db: AsyncConnection, ids: Sequence[UUID]) -> int:
    """Deletes those of the users who are abandoned guests, and frees their names; how many."""
    gone = await db.execute(
        text(f"""
            DELETE FROM users u WHERE u.id = ANY(:ids) AND {ABANDONED}
            RETURNING lower(u.username) AS username_key
        """),  # noqa: S608 - constants
        {"ids": list(ids)},
    )
    names = list(gone.scalars())
    if names:
        await db.execute(
            text("DELETE FROM usernames WHERE username_key = ANY(:names) AND user_id = ANY(:ids)"),
            {"names": names, "ids": list(ids)},
        )
    return len(names)


async def count(db: AsyncConnection, *, retention: timedelta) -> tuple[int, int]:
    """How many sessions and how many guests a cleanup would delete now.

    Those guests are counted who have no session left, or none but what it deletes.
    """
    found = await db.execute(
        text(f"""
            SELECT (SELECT count(*) FROM user_sessions s WHERE {PURGEABLE}),
                   (SELECT count(*) FROM users u
                    WHERE u.is_guest AND u.role IS NULL AND NOT EXISTS (
                        SELECT FROM user_sessions s
                        WHERE s.user_id = u.id AND {PURGEABLE} IS NOT TRUE))
        """),  # noqa: S608 - constants
        {"retention": retention},
    )
    sessions, guests = found.one()
    return sessions, guests
