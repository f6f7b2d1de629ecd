"""Statements about sessions that somebody holds a socket or a stream open with.

They look at many users' at once: by `user_id = ANY` and `id = ANY`, which a distributed PostgreSQL
prunes to the shards that are meant, and what comes back is matched by the pair. All of them raise
NotPrimary on a standby, where neither a row nor its absence proves anything.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import NotPrimary
from db.sessions import COLUMNS, IDLE_ENDS_AT, LIVE, STANDBY, Key, SessionRow, require_primary
from db.users import COLUMNS as USER_COLUMNS
from db.users import UserRow

# Seconds until a clock ends a live session, unless it is used.
LEFT = f"""CAST(extract(epoch FROM
    least(s.expires_at, {IDLE_ENDS_AT}) - statement_timestamp()) AS double precision)"""

# How long ago a session may have begun and still be news: longer than any transaction lasts.
RECENT = "interval '1 minute'"


class Owned(NamedTuple):
    """A session with its owner."""

    session: SessionRow
    user: UserRow


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


async def find_many(db: AsyncConnection, keys: Collection[Key]) -> dict[Key, Owned]:
    """Those of the sessions that there are, live or not."""
    rows = await _read(
        db,
        f"""
            SELECT {COLUMNS}, {USER_COLUMNS}, pg_is_in_recovery()
            FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE s.user_id = ANY(:user_ids) AND s.id = ANY(:ids)
        """,  # noqa: S608 - constants
        _values(keys),
    )
    found = {Key(row.session.user_id, row.session.id): row for row in map(_owned, rows)}
    return {key: found[key] for key in keys if key in found}


async def of_users(db: AsyncConnection, user_ids: Collection[UUID]) -> list[Owned]:
    """The users' sessions that live or began lately, those made first first."""
    rows = await _read(
        db,
        f"""
            SELECT {COLUMNS}, {USER_COLUMNS}, pg_is_in_recovery()
            FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE s.user_id = ANY(:user_ids)
              AND ({LIVE} OR s.created_at > statement_timestamp() - {RECENT})
            ORDER BY s.created_at, s.id
        """,  # noqa: S608 - constants
        {"user_ids": list(user_ids)},
    )
    return [_owned(row) for row in rows]


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


def _owned(row: Sequence[Any]) -> Owned:
    split = len(SessionRow._fields)
    return Owned(SessionRow(*row[:split]), UserRow(*row[split:-1]))
