"""The history: what became of sessions, written in the transaction that does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import uuid6
from sqlalchemy.ext.asyncio import AsyncConnection

from db import changes
from db.direct import Statements
from db.sessions import SessionRow
from db.statements import text


class Kind(StrEnum):
    """What happened to a session."""

    CREATED = "CREATED"
    RENAMED = "RENAMED"
    REFRESHED = "REFRESHED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


class Actor(StrEnum):
    """In which role somebody did it."""

    USER = "USER"
    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"  # with the command line
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class By:
    """Who did something, from where."""

    actor: Actor
    user_id: UUID | None = None
    session_id: UUID | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it stands in the history."""

    session_id: UUID
    kind: str
    at: datetime
    actor: str
    actor_user_id: UUID | None
    actor_session_id: UUID | None
    reason: str | None
    ip_address: str | None


async def record(db: Statements, kind: Kind, sessions: Sequence[SessionRow], by: By) -> None:
    """Writes down what somebody has just done to sessions: one statement, none for no session.

    An expiry is dated at the clock that ended the session, everything else at the transaction.
    """
    if not sessions:
        return
    changes.note(db, [row.user_id for row in sessions])
    expired = kind is Kind.EXPIRED
    await db.execute(
        text("""
            INSERT INTO session_events
                (user_id, id, session_id, kind, at, actor, actor_user_id, actor_session_id, reason,
                 ip_address)
            SELECT n.user_id, n.id, n.session_id, :kind, coalesce(n.at, now()), :actor,
                   CAST(:actor_user_id AS uuid), CAST(:actor_session_id AS uuid), n.reason,
                   CAST(CAST(:address AS text) AS inet)
            FROM unnest(CAST(:user_ids AS uuid[]), CAST(:ids AS uuid[]),
                        CAST(:session_ids AS uuid[]), CAST(:times AS timestamptz[]),
                        CAST(:reasons AS text[])) AS n (user_id, id, session_id, at, reason)
        """),
        {
            "kind": kind.value,
            "actor": by.actor.value,
            "actor_user_id": by.user_id,
            "actor_session_id": by.session_id,
            "address": by.address,
            "user_ids": [row.user_id for row in sessions],
            "ids": [uuid6.uuid7() for _ in sessions],
            "session_ids": [row.id for row in sessions],
            "times": [
                row.idle_expires_at or row.expires_at if expired else None for row in sessions
            ],
            "reasons": [row.revoked_reason for row in sessions],
        },
    )


async def of_user(db: AsyncConnection, user_id: UUID, *, limit: int) -> list[EventRow]:
    """The newest events of the user's sessions, newest first."""
    rows = await db.execute(
        text("""
            SELECT session_id, kind, at, actor, actor_user_id, actor_session_id, reason,
                   CAST(ip_address AS text)
            FROM session_events WHERE user_id = :user_id ORDER BY at DESC, id DESC LIMIT :limit
        """),
        {"user_id": user_id, "limit": limit},
    )
    return [EventRow(*row) for row in rows]


async def delete_old(db: AsyncConnection, *, retention: timedelta, limit: int) -> int:
    """Deletes at most so many events that are older than that; how many."""
    return await _change_old(db, "DELETE FROM session_events e", "true", retention, limit)


async def wipe_addresses(db: AsyncConnection, *, retention: timedelta, limit: int) -> int:
    """Forgets from where at most so many events came that are older than that; of how many."""
    change = "UPDATE session_events e SET ip_address = NULL"
    return await _change_old(db, change, "e.ip_address IS NOT NULL", retention, limit)


async def _change_old(
    db: AsyncConnection, change: str, condition: str, retention: timedelta, limit: int
) -> int:
    old = f"(e.at < now() - CAST(:retention AS interval) AND {condition})"
    changed = await db.execute(
        text(f"""
            {change} WHERE (e.user_id, e.id) IN (
                SELECT e.user_id, e.id FROM session_events e WHERE {old} LIMIT :limit
            ) AND {old}
            RETURNING e.id
        """),  # noqa: S608 - constants
        {"retention": retention, "limit": limit},
    )
    return len(changed.all())
