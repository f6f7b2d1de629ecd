"""Endings that come at the same time, each of a session by another one of the same user.

One statement for all of them and everything: the locks, who asks, what ends, what the history
keeps of that. Whoever may not end anything any longer, and what had ended before, is left out:
alone, each is looked at again and told what it is.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import uuid6

from db import changes
from db.direct import Statements
from db.events import Actor, Kind
from db.sessions import COLUMNS, LIVE, RevokedReason, SessionRow, seconds, to_sessions
from db.statements import text


class Ending(NamedTuple):
    """A session that is to end, why, and by which other one of its user."""

    user_id: UUID
    session_id: UUID
    reason: RevokedReason
    by: UUID
    fresh_for: timedelta | None  # how old an account's proof may be; none: as old as it is
    latest: float  # seconds since 1970, on the database's clock: later nothing ends
    address: str | None  # where the wish comes from, as much of it as is kept


# What somebody else holds is passed over. A row that was changed since the statement began is
# judged as it is when its lock is had (PostgreSQL's manual, "Read Committed"), so what is seen of
# the user and of who asks is as true as in a statement after the lock.
END = text(f"""
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:user_ids AS uuid[]), CAST(:session_ids AS uuid[]), CAST(:reasons AS text[]),
            CAST(:bys AS uuid[]), CAST(:fresh_fors AS float8[]), CAST(:latests AS float8[]),
            CAST(:event_ids AS uuid[]), CAST(:addresses AS text[])
        ) AS n (user_id, session_id, reason, by, fresh_for, latest, event_id, address)
        WHERE clock_timestamp() < to_timestamp(latest)
    ), held AS MATERIALIZED (
        SELECT n.* FROM n JOIN users u ON u.id = n.user_id
            JOIN user_sessions s ON s.user_id = n.user_id AND s.id = n.by
        WHERE {LIVE} AND u.disabled_at IS NULL AND (u.is_guest OR n.fresh_for IS NULL
            OR s.authenticated_at + make_interval(secs => n.fresh_for) >= clock_timestamp())
        ORDER BY u.id
        FOR NO KEY UPDATE OF u, s SKIP LOCKED
    ), free AS MATERIALIZED (
        SELECT n.* FROM held n JOIN user_sessions s ON s.user_id = n.user_id AND s.id = n.session_id
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ), ended AS (
        UPDATE user_sessions s
        SET revoked_at = statement_timestamp(), revoked_reason = n.reason, revoked_by = n.by
        FROM free n
        WHERE s.user_id = n.user_id AND s.id = n.session_id AND {LIVE}
        RETURNING s.*
    ), told AS (
        INSERT INTO session_events
            (user_id, id, session_id, kind, actor, actor_user_id, actor_session_id, reason,
             ip_address)
        SELECT n.user_id, n.event_id, n.session_id, '{Kind.REVOKED}', '{Actor.USER}', n.user_id,
               n.by, n.reason, CAST(n.address AS inet)
        FROM n JOIN ended s ON s.user_id = n.user_id AND s.id = n.session_id
    )
    SELECT {COLUMNS} FROM ended s
""")  # noqa: S608 - constants


async def end_together(db: Statements, endings: Sequence[Ending]) -> list[SessionRow | None]:
    """The sessions that ended, each of another user; None for those that must be ended alone.

    The statement is its own transaction.
    """
    changes.note(db, [one.user_id for one in endings])
    rows = await db.execute(
        END,
        {
            "user_ids": [one.user_id for one in endings],
            "session_ids": [one.session_id for one in endings],
            "reasons": [one.reason for one in endings],
            "bys": [one.by for one in endings],
            "fresh_fors": [seconds(one.fresh_for) for one in endings],
            "latests": [one.latest for one in endings],
            "event_ids": [uuid6.uuid7() for _ in endings],
            "addresses": [one.address for one in endings],
        },
    )
    ended = {row.user_id: row for row in to_sessions(rows)}
    return [ended.get(one.user_id) for one in endings]
