"""Statements of the cleanup. It works in batches and at any user's rows, so no owner comes in."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.idempotency_keys import LIFETIME
from db.sessions import COLUMNS, ENDED_AT, LIVE, SessionRow, to_sessions
from db.statements import text

LOCK = 0x62_69_67_32  # "big2": any constant that no other program uses here

# A clock has ended it, and nobody has noted that yet.
UNNOTED = f"(s.revoked_at IS NULL AND s.expired_at IS NULL AND NOT {LIVE})"

# Ended longer ago than the retention. Each arm has its index; a row that somebody brought back to
# life by hand is not among them.
PURGEABLE = f"""
    ((s.expired_at < now() - CAST(:retention AS interval)
      OR s.revoked_at < now() - CAST(:retention AS interval)) AND NOT {LIVE})
"""

A_RETRY = f"interval '{LIFETIME.total_seconds()} s'"

# A guest whom no code can bring back. Whoever has a role stays, whatever became of the sessions.
FORGOTTEN = """
    (u.is_guest AND u.role IS NULL
     AND NOT EXISTS (SELECT FROM link_codes c WHERE c.user_id = u.id
                     AND c.redeemed_at IS NULL AND c.expires_at > now()))
"""
ABANDONED = f"""
    ({FORGOTTEN} AND NOT EXISTS (SELECT FROM user_sessions s WHERE s.user_id = u.id))
"""

# Tables of what serves for minutes only, their keys, and when a row of each has served. A spent
# link code stays as long as a retry may refer to it.
SHORT_LIVED = (
    (
        "link_codes",
        "code_hash",
        f"expires_at < now() AND coalesce(redeemed_at < now() - {A_RETRY}, true)",
    ),
    ("idempotency_keys", "key_hash", f"created_at < now() - {A_RETRY}"),
    (
        "login_nonces",
        "nonce_hash",
        f"expires_at < now() AND coalesce(redeemed_at < now() - {A_RETRY}, true)",
    ),
    ("rate_counts", "key", "ends_at < now()"),
    ("usernames", "username_key", "reserved_until < now()"),
)


async def take_lock(db: AsyncConnection) -> bool:
    """Whether this transaction is now the only one that cleans up; ends with the transaction."""
    taken = await db.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK})
    return bool(taken.scalar_one())


async def note_expired(db: AsyncConnection, *, limit: int) -> list[SessionRow]:
    """Notes when at most so many sessions reached their deadline; those of which nobody had."""
    due = f"({UNNOTED} AND s.expires_at <= now())"
    noted = await db.execute(
        text(f"""
            UPDATE user_sessions s SET expired_at = {ENDED_AT}
            WHERE (s.user_id, s.id) IN (
                SELECT s.user_id, s.id FROM user_sessions s WHERE {due} LIMIT :limit
            ) AND {due}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"limit": limit},
    )
    return to_sessions(noted)


async def wait_for_lock(db: AsyncConnection) -> None:
    """Makes this transaction the only one that cleans up, once no other does."""
    await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


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


async def note_idled(db: AsyncConnection, owners: Sequence[UUID]) -> list[SessionRow]:
    """Notes when the users' sessions were ended by a clock; those of which nobody had."""
    noted = await db.execute(
        text(f"""
            UPDATE user_sessions s SET expired_at = {ENDED_AT}
            WHERE s.user_id = ANY(:owners) AND {UNNOTED}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"owners": list(owners)},
    )
    return to_sessions(noted)


async def delete_ended(db: AsyncConnection, owners: Sequence[UUID], *, retention: timedelta) -> int:
    """Deletes those of the users' sessions that ended long ago; how many."""
    deleted = await db.execute(
        text(f"""
            DELETE FROM user_sessions s WHERE s.user_id = ANY(:owners) AND {PURGEABLE}
            RETURNING s.id
        """),  # noqa: S608 - constants
        {"owners": list(owners), "retention": retention},
    )
    return len(deleted.all())


async def wipe_addresses(
    db: AsyncConnection, owners: Sequence[UUID], *, retention: timedelta
) -> int:
    """Forgets from where the users' sessions were used, longer ago than that; of how many."""
    wiped = await db.execute(
        text("""
            UPDATE user_sessions s SET ip_address = NULL
            WHERE s.user_id = ANY(:owners) AND s.ip_address IS NOT NULL
              AND s.last_active_at < now() - CAST(:retention AS interval)
            RETURNING s.id
        """),
        {"owners": list(owners), "retention": retention},
    )
    return len(wiped.all())


async def delete_spent(db: AsyncConnection, *, limit: int) -> int:
    """Deletes at most so many of each of what serves for minutes only; how many."""
    deleted = 0
    for table, key, condition in SHORT_LIVED:
        gone = await db.execute(
            text(f"""
                DELETE FROM {table}
                WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT :limit)
                  AND {condition}
                RETURNING {key}
            """),  # noqa: S608 - constants
            {"limit": limit},
        )
        deleted += len(gone.all())
    return deleted


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

    Those guests are counted who have nothing left that brings them back but what it deletes.
    """
    going = f"({ENDED_AT} < now() - CAST(:retention AS interval) AND NOT {LIVE})"
    found = await db.execute(
        text(f"""
            SELECT (SELECT count(*) FROM user_sessions s WHERE {going}),
                   (SELECT count(*) FROM users u WHERE {FORGOTTEN} AND NOT EXISTS (
                        SELECT FROM user_sessions s WHERE s.user_id = u.id AND NOT {going}))
        """),  # noqa: S608 - constants
        {"retention": retention},
    )
    sessions, guests = found.one()
    return sessions, guests
