"""Statements about sessions that somebody holds a socket or a stream open with.

They look at many users' at once: by `user_id = ANY` and `id = ANY`, which a distributed PostgreSQL
prunes to the shards that are meant, and what comes back is matched by the pair. All of them raise
NotPrimary on a standby, where neither a row nor its absence proves anything.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import NotPrimary
from db.sessions import (
    IDLE_ENDS_AT,
    LIVE,
    OWNED,
    STANDBY,
    Key,
    OwnedSession,
    require_primary,
    to_owned,
)
from db.statements import text

# Seconds until a clock ends a live session, unless it is used.
LEFT = f"""CAST(extract(epoch FROM
    least(s.expires_at, {IDLE_ENDS_AT}) - statement_timestamp()) AS double precision)"""

# How long ago a session may have begun and still be news: longer than any transaction lasts.
RECENT = "interval '1 minute'"


async def time_left(db: AsyncConnection, keys: Collection[Key]) -> dict[Key, float]:
    """Those of the sessions that let their token in now, and for how many seconds at most."""
    rows = await _read(
        db,
        f"""
            SELECT s.user_id, s.id, {LEFT}, pg_is_in_recovery()
            FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE s.user_id = ANY(:user_ids) AND s.id = ANY(:ids) AND {LIVE}
              AND u.disabled_at IS NULL
        """,  # noqa: S608 - constants
        _values(keys),
    )
    found = {Key(*row[:2]): row[2] for row in rows}
    return {key: found[key] for key in keys if key in found}


async def of_users(db: AsyncConnection, user_ids: Collection[UUID]) -> list[OwnedSession]:
    """The users' sessions that live or began lately, those made first first."""
    rows = await _read(
        db,
        f"""
            {OWNED}
            WHERE s.user_id = ANY(:user_ids)
              AND ({LIVE} OR s.created_at > statement_timestamp() - {RECENT})
            ORDER BY s.created_at, s.id
        """,
        {"user_ids": list(user_ids)},
    )
    return [to_owned(row) for row in rows]


async def _read(
    db: AsyncConnection, statement: str, values: dict[str, object]
) -> Sequence[Sequence[Any]]:
    """The rows of a statement whose last column is whether a standby answered."""
    rows = (await db.execute(text(statement), values)).all()
    if not rows:
        require_primary(standby=(await db.execute(text(STANDBY))).scalar_one())
    elif rows[0][-1]:
        raise NotPrimary
    return rows


def _values(keys: Collection[Key]) -> dict[str, object]:
    return {"user_ids": list({key.user_id for key in keys}), "ids": [k.session_id for k in keys]}
