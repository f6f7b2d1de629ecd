"""Statements about sessions. `db` first, the owner next; plain rows come out."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import NotPrimary
from db.users import UserRow

# The only definition of a live session. `s` is the session's row, the clock is the database's.
LIVE = "(s.revoked_at IS NULL AND s.expires_at > now())"

# What a session's row is read as, in the order of SessionRow's fields.
COLUMNS = f"""
    s.id, s.user_id, s.label, s.created_at, s.authenticated_at, s.last_active_at, s.expires_at,
    s.revoked_at, s.revoked_reason, {LIVE} AS is_live
"""


class RevokedReason(StrEnum):
    """Why a session was ended before its deadline."""

    SIGNED_OUT = "SIGNED_OUT"
    REVOKED_BY_USER = "REVOKED_BY_USER"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it was when it was read; is_live is the database's verdict of that moment."""

    id: UUID
    user_id: UUID
    label: str
    created_at: datetime
    authenticated_at: datetime
    last_active_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_reason: str | None
    is_live: bool


@dataclass(frozen=True, slots=True)
class OwnedSession:
    """A session with its owner: all that the door needs, from one statement."""

    session: SessionRow
    user: UserRow


async def find(db: AsyncConnection, user_id: UUID, session_id: UUID) -> OwnedSession | None:
    """The user's session with its owner, live or not; None when there is no such row.

    Raises NotPrimary on a standby, where neither a row nor its absence proves anything.
    """
    found = await db.execute(
        text(f"""
            SELECT {COLUMNS},
                   u.id, u.username, u.is_guest, u.created_at, u.disabled_at,
                   pg_is_in_recovery()
            FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE s.user_id = :user_id AND s.id = :session_id
        """),  # noqa: S608 - constants
        {"user_id": user_id, "session_id": session_id},
    )
    row = found.one_or_none()
    if row is None:
        await require_primary(db)
        return None
    *columns, is_standby = row
    if is_standby:
        raise NotPrimary
    split = len(SessionRow.__slots__)
    return OwnedSession(SessionRow(*columns[:split]), UserRow(*columns[split:]))


async def require_primary(db: AsyncConnection) -> None:
    """Raises NotPrimary on a standby."""
    if (await db.execute(text("SELECT pg_is_in_recovery()"))).scalar_one():
        raise NotPrimary


async def live(db: AsyncConnection, user_id: UUID, *, first: UUID) -> list[SessionRow]:
    """The user's live sessions: the one named `first`, then the most recently active."""
    rows = await db.execute(
        text(f"""
            SELECT {COLUMNS} FROM user_sessions s
            WHERE s.user_id = :user_id AND {LIVE}
            ORDER BY s.id = :first DESC, s.last_active_at DESC, s.id DESC
        """),  # noqa: S608 - constants
        {"user_id": user_id, "first": first},
    )
    return [to_session(row) for row in rows]


async def create(
    db: AsyncConnection,
    user_id: UUID,
    session_id: UUID,
    *,
    label: str,
    absolute_lifetime: timedelta,
    activity_resolution: timedelta,
) -> SessionRow:
    """A new session of the user, its policy copied onto the row."""
    created = await db.execute(
        text(f"""
            INSERT INTO user_sessions AS s
                (user_id, id, label, expires_at, activity_resolution)
            VALUES (:user_id, :session_id, :label,
                    now() + CAST(:absolute_lifetime AS interval), :activity_resolution)
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {
            "user_id": user_id,
            "session_id": session_id,
            "label": label,
            "absolute_lifetime": absolute_lifetime,
            "activity_resolution": activity_resolution,
        },
    )
    return to_session(created.one())


async def revoke(
    db: AsyncConnection, user_id: UUID, session_id: UUID, *, reason: RevokedReason, by: UUID
) -> SessionRow | None:
    """Ends a live session of the user. None when nothing ended."""
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = now(), revoked_reason = :reason, revoked_by = :by
            WHERE s.user_id = :user_id AND s.id = :session_id AND {LIVE}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"user_id": user_id, "session_id": session_id, "reason": reason.value, "by": by},
    )
    row = ended.one_or_none()
    return to_session(row) if row else None


async def confirm_ended(db: AsyncConnection, user_id: UUID, session_id: UUID) -> SessionRow | None:
    """The user's session that has already ended; None when there is none.

    It is written once more, as it is: the answer "already ended" must wait for a synchronous
    standby like the first one did, or a failover could bring the session back after it.
    """
    confirmed = await db.execute(
        text(f"""
            UPDATE user_sessions s SET label = s.label
            WHERE s.user_id = :user_id AND s.id = :session_id AND NOT {LIVE}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"user_id": user_id, "session_id": session_id},
    )
    row = confirmed.one_or_none()
    return to_session(row) if row else None


def to_session(row: Row[*tuple[Any, ...]]) -> SessionRow:
    """The row that COLUMNS select."""
    return SessionRow(*row)
