"""Statements about sessions. `db` first, the owner next; plain rows come out."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.direct import Statements
from db.engine import NotPrimary
from db.statements import text
from db.users import COLUMNS as USER_COLUMNS
from db.users import UserRow

# When idling ends a session, if nothing more happens; none where idling ends nothing. Activity is
# true to the resolution, so that much is added: whoever is active is not ended by what is not
# written down yet.
IDLE_ENDS_AT = "s.last_active_at + s.idle_timeout + s.activity_resolution"

# The only definition of a live session. `s` is the session's row, the clock is the database's: when
# the statement began, for a transaction may have waited for a lock since it began.
LIVE = f"""(s.revoked_at IS NULL AND s.expires_at > statement_timestamp()
    AND (s.idle_timeout IS NULL OR {IDLE_ENDS_AT} > statement_timestamp()))"""

# When a session that is not live has ended; `least` passes over what is NULL.
ENDED_AT = f"coalesce(s.revoked_at, least(s.expires_at, {IDLE_ENDS_AT}))"

# What a session's row is read as, in the order of SessionRow's fields.
COLUMNS = f"""
    s.id, s.user_id, s.label, s.created_at, s.authenticated_at, s.last_active_at, s.expires_at,
    CASE WHEN s.idle_timeout IS NOT NULL THEN least(s.expires_at, {IDLE_ENDS_AT}) END,
    s.revoked_at, s.revoked_reason,
    s.user_agent, s.client_name, s.client_os, s.device_type, abbrev(s.ip_address), s.is_recovery,
    {LIVE}
"""

# Activity is written down together, so it is noted a little before the resolution is used up.
AHEAD = "interval '1 s'"

# The policy's durations, whole seconds of them: with days in it, an interval would be an hour
# longer or shorter where the time zone of the connection changes to summer in between.
SECONDS = "make_interval(secs => CAST(CAST(:{} AS text) AS double precision))"


class RevokedReason(StrEnum):
    """Why a session was ended before its deadline."""

    SIGNED_OUT = "SIGNED_OUT"
    REVOKED_BY_USER = "REVOKED_BY_USER"
    REVOKED_BY_ADMIN = "REVOKED_BY_ADMIN"
    SESSION_LIMIT = "SESSION_LIMIT"
    CREDENTIAL_CHANGED = "CREDENTIAL_CHANGED"
    USER_DISABLED = "USER_DISABLED"
    SUPERSEDED = "SUPERSEDED"


class SessionRow(NamedTuple):
    """A session as it was when it was read; is_live is the database's verdict of that moment."""

    id: UUID
    user_id: UUID
    label: str
    created_at: datetime
    authenticated_at: datetime
    last_active_at: datetime
    expires_at: datetime
    idle_expires_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None
    user_agent: str | None
    client_name: str | None
    client_os: str | None
    device_type: str | None
    ip_address: str | None  # or a network's, as much of it as is kept
    is_recovery: bool  # made with an operator's code
    is_live: bool

    @property
    def status(self) -> str:
        """ACTIVE, EXPIRED or REVOKED; one that was revoked stays so after its deadline."""
        if self.revoked_at is not None:
            return "REVOKED"
        return "ACTIVE" if self.is_live else "EXPIRED"


EXPECTED = 10  # elements of a list that PostgreSQL's planner does not see
SESSION_WIDTH = len(SessionRow._fields)


class Key(NamedTuple):
    """A session's key."""

    user_id: UUID
    session_id: UUID


class OwnedSession(NamedTuple):
    """A session with its owner: all that the door needs, from one statement."""

    session: SessionRow
    user: UserRow
    is_use_due: bool  # whether a use of the session is to be written down now
    live: Sequence[SessionRow] | None = None  # its user's live sessions, where these were asked for

    @property
    def user_id(self) -> UUID:
        """The owner in every statement."""
        return self.user.id

    @property
    def session_id(self) -> UUID:
        """The session itself."""
        return self.session.id


class NewSession(NamedTuple):
    """What a session begins with; its policy is copied onto the row."""

    id: UUID
    label: str
    absolute_lifetime: timedelta
    idle_timeout: timedelta | None
    idle_timeout_once_used: timedelta | None
    activity_resolution: timedelta
    user_agent: str | None
    client_name: str | None
    client_os: str | None
    device_type: str | None
    ip_address: str | None
    is_recovery: bool = False


# A session with its owner, and whether this PostgreSQL may be asked at all.
OWNED = f"""
    SELECT {COLUMNS}, {USER_COLUMNS},
           s.last_active_at <= s.created_at
               OR s.last_active_at + s.activity_resolution <= now() + {AHEAD},
           pg_is_in_recovery()
    FROM user_sessions s JOIN users u ON u.id = s.user_id
"""  # noqa: S608 - constants
# The same for every row of a user, of whom only the rows that are asked for by id say more: for the
# others no user is looked up.
OWNED_WITH_LIVE = OWNED.replace(
    "JOIN users u ON u.id = s.user_id",
    "LEFT JOIN users u ON u.id = CASE WHEN s.id = ANY(:ids) THEN s.user_id END",
)
STANDBY = "SELECT pg_is_in_recovery()"


async def find(db: AsyncConnection, user_id: UUID, session_id: UUID) -> OwnedSession | None:
    """The user's session with its owner, live or not; None when there is no such row.

    Raises NotPrimary on a standby, where neither a row nor its absence proves anything.
    """
    found = await db.execute(
        text(f"{OWNED} WHERE s.user_id = :user_id AND s.id = :session_id"),
        {"user_id": user_id, "session_id": session_id},
    )
    row = found.one_or_none()
    if row is None:
        await refuse_standby(db)
        return None
    return to_owned(row)


FIND_MANY = text(f"{OWNED} WHERE s.user_id = ANY(:user_ids) AND s.id = ANY(:ids)")
FIND_MANY_WITH_LIVE = text(f"""
    {OWNED_WITH_LIVE}
    WHERE s.user_id = ANY(:user_ids) AND (s.id = ANY(:ids) OR {LIVE})
    ORDER BY s.last_active_at DESC, s.id DESC
""")


async def find_many(db: Statements, keys: Sequence[Key]) -> dict[Key, OwnedSession]:
    """What `find` finds for each of these keys, in one statement.

    Two lists of ids, so that a distributed PostgreSQL asks only the shards that hold them; a row
    that pairs one's user with another's session is nobody's answer.
    """
    rows = list(await db.execute(FIND_MANY, pairs(as_planned_for(keys))))
    if not rows:
        await refuse_standby(db)
    return {Key(one.session.user_id, one.session.id): one for one in map(to_owned, rows)}


async def find_many_with_live(db: Statements, keys: Sequence[Key]) -> dict[Key, OwnedSession]:
    """As find_many; beside each session its user's live ones, the most recently active first."""
    rows = list(await db.execute(FIND_MANY_WITH_LIVE, pairs(as_planned_for(keys))))
    if rows:  # perhaps none of a session that was asked for
        require_primary(standby=rows[0][-1])
    else:
        await refuse_standby(db)
    return with_live(rows, set(keys))


async def refuse_standby(db: Statements) -> None:
    """Raises NotPrimary where a standby answers."""
    ((standby,),) = await db.execute(text(STANDBY))
    require_primary(standby=standby)


def with_live(rows: Sequence[Any], keys: Collection[Key]) -> dict[Key, OwnedSession]:
    """The sessions of these keys among the rows that OWNED_WITH_LIVE selects. Raises NotPrimary."""
    live: dict[UUID, list[SessionRow]] = {user_id: [] for user_id, _ in keys}
    ids = {session_id for _, session_id in keys}
    found = {}
    for row in rows:
        session = to_session(row[:SESSION_WIDTH])
        if session.is_live:
            live[session.user_id].append(session)
        if session.id in ids and (key := Key(session.user_id, session.id)) in keys:
            found[key] = to_owned(row)._replace(live=live[session.user_id])
    return found


def require_primary(*, standby: bool) -> None:
    """Raises NotPrimary on a standby, where neither a row nor its absence proves anything."""
    if standby:
        raise NotPrimary


async def live(db: AsyncConnection, user_id: UUID, *, first: UUID) -> list[SessionRow]:
    """The user's live sessions: the one named `first`, then the most recently active."""
    rows = await db.execute(
        text(f"""
            SELECT {COLUMNS} FROM user_sessions s
            WHERE s.user_id = :user_id AND {LIVE}
            ORDER BY s.last_active_at DESC, s.id DESC
        """),  # noqa: S608 - constants
        {"user_id": user_id},
    )
    return with_first(to_sessions(rows), first)


def with_first(rows: Sequence[SessionRow], first: UUID) -> list[SessionRow]:
    """The rows in their order, but the one of this id before the others."""
    return sorted(rows, key=lambda row: row.id != first)


async def live_and_ended(
    db: AsyncConnection, user_id: UUID, *, first: UUID, limit: int
) -> list[SessionRow]:
    """The user's live sessions as `live` has them, then at most so many that ended, the last first.

    One statement: a session that ends between two would be in both.
    """
    rows = await db.execute(
        text(f"""
            SELECT {COLUMNS} FROM user_sessions s
            WHERE s.user_id = :user_id AND ({LIVE} OR s.id IN (
                SELECT s.id FROM user_sessions s WHERE s.user_id = :user_id AND NOT {LIVE}
                ORDER BY {ENDED_AT} DESC, s.id DESC LIMIT :limit))
            ORDER BY {LIVE} DESC, s.id = :first DESC,
                     CASE WHEN {LIVE} THEN s.last_active_at ELSE {ENDED_AT} END DESC, s.id DESC
        """),  # noqa: S608 - constants
        {"user_id": user_id, "first": first, "limit": limit},
    )
    return to_sessions(rows)


async def live_labels(db: AsyncConnection, user_id: UUID) -> list[str]:
    """What the user's live sessions are called: one label for each of them."""
    labels = await db.execute(
        text(f"SELECT s.label FROM user_sessions s WHERE s.user_id = :user_id AND {LIVE}"),  # noqa: S608 - constants
        {"user_id": user_id},
    )
    return list(labels.scalars())


async def create(
    db: AsyncConnection, user_id: UUID, new: NewSession, *, authenticated_at: datetime | None
) -> SessionRow:
    """A new session of the user, who proved who they are at that time; None: now."""
    created = await db.execute(
        text(f"""
            INSERT INTO user_sessions AS s
                (user_id, id, label, authenticated_at, expires_at, idle_timeout,
                 idle_timeout_once_used, activity_resolution,
                 user_agent, client_name, client_os, device_type, ip_address, is_recovery)
            VALUES (:user_id, :id, :label,
                    coalesce(CAST(:authenticated_at AS timestamptz), now()),
                    now() + {SECONDS.format("absolute_lifetime")},
                    {SECONDS.format("idle_timeout")}, {SECONDS.format("idle_timeout_once_used")},
                    {SECONDS.format("activity_resolution")},
                    CAST(:user_agent AS text), CAST(:client_name AS text),
                    CAST(:client_os AS text), CAST(:device_type AS text),
                    CAST(CAST(:ip_address AS text) AS inet), :is_recovery)
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {
            "user_id": user_id,
            "id": new.id,
            "label": new.label,
            "authenticated_at": authenticated_at,
            "absolute_lifetime": in_seconds(new.absolute_lifetime),
            "idle_timeout": in_seconds(new.idle_timeout),
            "idle_timeout_once_used": in_seconds(new.idle_timeout_once_used),
            "activity_resolution": in_seconds(new.activity_resolution),
            "user_agent": new.user_agent,
            "client_name": new.client_name,
            "client_os": new.client_os,
            "device_type": new.device_type,
            "ip_address": new.ip_address,
            "is_recovery": new.is_recovery,
        },
    )
    return to_session(created.one())


async def rename(
    db: AsyncConnection, user_id: UUID, session_id: UUID, label: str
) -> SessionRow | None:
    """Calls a live session of the user something else. None when there is none."""
    renamed = await db.execute(
        text(f"""
            UPDATE user_sessions s SET label = :label
            WHERE s.user_id = :user_id AND s.id = :session_id AND {LIVE}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"user_id": user_id, "session_id": session_id, "label": label},
    )
    return to_session_or_none(renamed)


async def revoke(
    db: AsyncConnection, user_id: UUID, session_id: UUID, *, reason: RevokedReason, by: UUID
) -> SessionRow | None:
    """Ends a live session of the user. None when there is none. The user's row must be locked."""
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = statement_timestamp(), revoked_reason = :reason, revoked_by = :by
            WHERE s.user_id = :user_id AND s.id = :session_id AND {LIVE}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"user_id": user_id, "session_id": session_id, "reason": reason.value, "by": by},
    )
    return to_session_or_none(ended)


async def confirm_ended(db: AsyncConnection, user_id: UUID, session_id: UUID) -> SessionRow | None:
    """A session of the user that had ended already. None when there is none.

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
    return to_session_or_none(confirmed)


def as_planned_for(keys: Sequence[Key]) -> Sequence[Key]:
    """The same keys, at least as many as PostgreSQL's plan for any number of them expects.

    For fewer it takes another plan for cheaper, and makes that anew every time: three times the
    CPU of the look-up. Of keys that stand there twice it looks for one.
    """
    return [*keys, *list(keys[-1:]) * (EXPECTED - len(keys))]


def pairs(keys: Sequence[Key]) -> dict[str, list[UUID]]:
    """Keys as two lists that belong together."""
    return {"user_ids": [key.user_id for key in keys], "ids": [key.session_id for key in keys]}


async def revoke_others(
    db: AsyncConnection, user_id: UUID, *, keep: UUID, reason: RevokedReason, by: UUID
) -> list[SessionRow]:
    """Ends the user's live sessions but one; those that ended, newest first.

    The user's row must be locked, by a statement before this one: or a session that is being made
    is missed.
    """
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = statement_timestamp(), revoked_reason = :reason, revoked_by = :by
            WHERE s.user_id = :user_id AND s.id <> :keep AND {LIVE}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"user_id": user_id, "keep": keep, "reason": reason.value, "by": by},
    )
    return newest_first(to_sessions(ended))


async def revoke_all(
    db: AsyncConnection,
    user_id: UUID,
    *,
    reason: RevokedReason,
    by: UUID | None,
    own: UUID | None = None,
) -> list[SessionRow]:
    """Ends all live sessions of the user; one's `own` among them has signed out.

    Those that ended, newest first. The user's row must be locked, by a statement before this one.
    """
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = statement_timestamp(), revoked_by = CAST(:by AS uuid),
                revoked_reason = CASE WHEN s.id = CAST(:own AS uuid) THEN :own_reason
                                      ELSE :reason END
            WHERE s.user_id = :user_id AND {LIVE}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {
            "user_id": user_id,
            "by": by,
            "own": own,
            "own_reason": RevokedReason.SIGNED_OUT.value,
            "reason": reason.value,
        },
    )
    return newest_first(to_sessions(ended))


async def revoke_oldest(
    db: AsyncConnection, user_id: UUID, *, keep: int, by: UUID
) -> list[SessionRow]:
    """Ends the user's live sessions but the newest `keep`, to make room for the session `by`.

    By the time and then the id of their making. The user's row must be locked, by a statement
    before this one.
    """
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = statement_timestamp(), revoked_reason = :reason, revoked_by = :by
            WHERE s.user_id = :user_id AND {LIVE} AND s.id IN (
                SELECT s.id FROM user_sessions s WHERE s.user_id = :user_id AND {LIVE}
                ORDER BY s.created_at DESC, s.id DESC OFFSET :keep
            )
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {
            "user_id": user_id,
            "keep": keep,
            "by": by,
            "reason": RevokedReason.SESSION_LIMIT.value,
        },
    )
    return newest_first(to_sessions(ended))


def to_owned(row: Any) -> OwnedSession:
    """The row that OWNED selects. Raises NotPrimary."""
    require_primary(standby=row[-1])
    user = tuple.__new__(UserRow, row[SESSION_WIDTH:-2])
    return OwnedSession(to_session(row[:SESSION_WIDTH]), user, row[-2])


def to_session(row: Iterable[Any]) -> SessionRow:
    """The row that COLUMNS select."""
    return tuple.__new__(SessionRow, row)  # _make does, and counts them


def to_session_or_none(rows: Any) -> SessionRow | None:
    """The one row that COLUMNS select, if there is one."""
    row = rows.one_or_none()
    return to_session(row) if row else None


def to_sessions(rows: Any) -> list[SessionRow]:
    """The rows that COLUMNS select."""
    return [to_session(row) for row in rows]


def newest_first(rows: Sequence[SessionRow]) -> list[SessionRow]:
    """In the order of their making; RETURNING has none."""
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)


def seconds(duration: timedelta | None) -> float | None:
    """A duration for make_interval."""
    return None if duration is None else duration.total_seconds()


def in_seconds(duration: timedelta | None) -> str | None:
    """A duration for SECONDS."""
    return None if duration is None else str(duration.total_seconds())
