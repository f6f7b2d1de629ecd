"""Finding sessions of all users: one predicate for whoever lists, counts or ends them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import sqlstate
from db.sessions import COLUMNS, LIVE, SESSION_WIDTH, OwnedSession, to_session
from db.statements import text
from db.users import COLUMNS as USER_COLUMNS
from db.users import NAME_KEY, UserRow

TIMEOUT = "2s"  # of one look: only a user's sessions and the newest ones have an index
YEARS = range(1970, 9999)  # of times that a session can have, in any time zone
ENDLESS = "0"  # for operators, who can wait
QUERY_CANCELED = "57014"
STATUSES = {
    "ACTIVE": LIVE,
    "EXPIRED": f"(s.revoked_at IS NULL AND NOT {LIVE})",
    "REVOKED": "s.revoked_at IS NOT NULL",
}


class TooSlow(Exception):
    """The search looked at too many sessions for too long."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sessions: all that is set must hold. Times: after is inclusive, before exclusive."""

    user_id: UUID | None = None
    username: str | None = None
    is_guest: bool | None = None
    status: str | None = None  # a key of STATUSES
    label: str | None = None  # a part of it, in whatever case
    ip_range: str | None = None  # an address or a network
    created_after: datetime | None = None
    created_before: datetime | None = None
    last_active_after: datetime | None = None
    last_active_before: datetime | None = None
    session_id: UUID | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every session is meant."""
        return all(getattr(self, name) is None for name in self.__slots__)


def read_network(text: str) -> str:
    """An address or a network as PostgreSQL reads it. Raises ValueError, for a person."""
    try:
        return str(ip_network(text.strip().partition("%")[0], strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is no address and no network like 203.0.113.0/24") from None


def refuse_odd_time(time: datetime) -> None:
    """Raises ValueError for a time without an offset, or one that is in no session's life."""
    if time.tzinfo is None or time.year not in YEARS:
        raise ValueError(f"{time.isoformat()} is no time with an offset like 2026-01-31T12:00:00Z")


CONDITIONS = {
    "user_id": "s.user_id = :user_id",
    "username": f"""s.user_id = (
        SELECT n.user_id FROM usernames n WHERE n.username_key = {NAME_KEY})""",  # noqa: S608
    "is_guest": "u.is_guest = :is_guest",
    "label": "position(lower(:label) IN lower(s.label)) > 0",
    "ip_range": "s.ip_address <<= CAST(CAST(:ip_range AS text) AS inet)",
    "created_after": "s.created_at >= :created_after",
    "created_before": "s.created_at < :created_before",
    "last_active_after": "s.last_active_at >= :last_active_after",
    "last_active_before": "s.last_active_at < :last_active_before",
    "session_id": "s.id = :session_id",
}


def where(wanted: Filter, *more: str) -> tuple[str, dict[str, Any]]:
    """The predicate of a filter and further conditions, over sessions `s` and users `u`."""
    values = {name: getattr(wanted, name) for name in CONDITIONS}
    values = {name: value for name, value in values.items() if value is not None}
    conditions = [CONDITIONS[name] for name in values]
    if wanted.status is not None:
        conditions.append(STATUSES[wanted.status])
    return " AND ".join([*conditions, *more]) or "true", values


async def page(
    db: AsyncConnection,
    wanted: Filter,
    *,
    after: UUID | None,
    limit: int,
    live: bool = False,
    patience: str | None = None,
) -> list[OwnedSession]:
    """Sessions with their users, those made last first, from one of them on. Raises TooSlow.

    live: only those that live, whatever the filter says. patience: TIMEOUT, unless it is said.
    """
    more = [*([LIVE] if live else []), *(["s.id < :after"] if after else [])]
    condition, values = where(wanted, *more)
    rows = await search(
        db,
        f"""
            SELECT {COLUMNS}, {USER_COLUMNS}
            FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE {condition} ORDER BY s.id DESC LIMIT :limit
        """,  # noqa: S608 - constants
        values | {"limit": limit} | ({"after": after} if after else {}),
        patience,
    )
    return [
        OwnedSession(
            to_session(row[:SESSION_WIDTH]), UserRow(*row[SESSION_WIDTH:]), is_use_due=False
        )
        for row in rows
    ]


async def owner_of(db: AsyncConnection, session_id: UUID) -> UUID | None:
    """Whose a session is; None when there is none of that id."""
    found = await db.execute(
        text("SELECT s.user_id FROM user_sessions s WHERE s.id = :id LIMIT 1"), {"id": session_id}
    )
    owner: UUID | None = found.scalar_one_or_none()
    return owner


async def count_live(
    db: AsyncConnection, wanted: Filter, *, spare: UUID | None, patience: str | None = None
) -> int:
    """How many live sessions, without the one to spare. Raises TooSlow."""
    condition, values = where(wanted, LIVE, "s.id IS DISTINCT FROM CAST(:spare AS uuid)")
    rows = await search(
        db,
        f"""
            SELECT count(*) FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE {condition}
        """,  # noqa: S608 - constants
        values | {"spare": spare},
        patience,
    )
    return int(rows[0][0])


async def live_keys(
    db: AsyncConnection,
    wanted: Filter,
    *,
    spare: UUID | None,
    after: UUID | None,
    limit: int,
    patience: str | None = None,
) -> list[tuple[UUID, UUID]]:
    """The users and ids of live sessions, those made last first, from one on. Raises TooSlow."""
    more = [LIVE, "s.id IS DISTINCT FROM CAST(:spare AS uuid)"]
    condition, values = where(wanted, *more, *(["s.id < :after"] if after else []))
    rows = await search(
        db,
        f"""
            SELECT s.user_id, s.id FROM user_sessions s JOIN users u ON u.id = s.user_id
            WHERE {condition} ORDER BY s.id DESC LIMIT :limit
        """,  # noqa: S608 - constants
        values | {"spare": spare, "limit": limit} | ({"after": after} if after else {}),
        patience,
    )
    return [(row[0], row[1]) for row in rows]


async def search(
    db: AsyncConnection, query: str, values: Mapping[str, Any], patience: str | None
) -> Sequence[Any]:
    """A query's rows, in a transaction, under a statement timeout of its own. Raises TooSlow."""
    await db.execute(text(f"SET LOCAL statement_timeout = '{patience or TIMEOUT}'"))
    try:
        return (await db.execute(text(query), dict(values))).all()
    except DBAPIError as error:
        if sqlstate(error) == QUERY_CANCELED:
            raise TooSlow from error
        raise
