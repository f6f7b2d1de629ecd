"""Statements about link codes: with one, another device signs in as the user who made it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.sessions import LIVE
from db.statements import text

# Can still be redeemed: unspent, in time, and the session that made it is live (`c` is the code,
# `s` that session). An operator's has no session behind it.
OPEN = f"""(c.redeemed_at IS NULL AND c.expires_at > statement_timestamp()
    AND (c.session_id IS NULL OR {LIVE}))"""


@dataclass(frozen=True, slots=True)
class LinkCodeRow:
    """A code that is open, or that was spent."""

    user_id: UUID
    authenticated_at: datetime | None  # of the session that made it; none: no session did
    redeemed_session_id: UUID | None  # the session that it made, once spent
    by_operator: bool
    is_open: bool


async def count_open(db: AsyncConnection, user_id: UUID) -> int:
    """How many codes that the user made can still be redeemed; an operator's do not count."""
    found = await db.execute(
        text(f"""
            SELECT count(*) FROM link_codes c
            JOIN user_sessions s ON s.user_id = c.user_id AND s.id = c.session_id
            WHERE c.user_id = :user_id AND {OPEN}
        """),  # noqa: S608 - constants
        {"user_id": user_id},
    )
    count: int = found.scalar_one()
    return count


async def create(
    db: AsyncConnection,
    user_id: UUID,
    session_id: UUID | None,
    code_hash: bytes,
    *,
    lifetime: timedelta,
) -> datetime:
    """A code of a session of the user, or of an operator for the user; when it ends."""
    created = await db.execute(
        text("""
            INSERT INTO link_codes (code_hash, user_id, session_id, expires_at)
            VALUES (:code_hash, :user_id, :session_id, now() + :lifetime)
            RETURNING expires_at
        """),
        {
            "code_hash": code_hash,
            "user_id": user_id,
            "session_id": session_id,
            "lifetime": lifetime,
        },
    )
    expires_at: datetime = created.scalar_one()
    return expires_at


async def find(db: AsyncConnection, code_hash: bytes) -> LinkCodeRow | None:
    """The code of a hash, unless it was never spent and cannot be any more."""
    found = await db.execute(
        text(f"""
            SELECT c.user_id, s.authenticated_at, c.redeemed_session_id, c.session_id IS NULL,
                   coalesce({OPEN}, false) AS is_open
            FROM link_codes c
            LEFT JOIN user_sessions s ON s.user_id = c.user_id AND s.id = c.session_id
            WHERE c.code_hash = :code_hash
        """),  # noqa: S608 - constants
        {"code_hash": code_hash},
    )
    row = found.one_or_none()
    code = LinkCodeRow(*row) if row else None
    return code if code and (code.is_open or code.redeemed_session_id) else None


async def redeem(db: AsyncConnection, code_hash: bytes, session_id: UUID) -> bool:
    """Spends an open code for a session that is about to be made; whether it was open.

    The user's row must be locked, by a statement before this one: a session that is being ended
    ends its codes with it.
    """
    spent = await db.execute(
        text(f"""
            UPDATE link_codes c SET redeemed_at = now(), redeemed_session_id = :session_id
            FROM link_codes k LEFT JOIN user_sessions s
                ON s.user_id = k.user_id AND s.id = k.session_id
            WHERE c.code_hash = :code_hash AND k.code_hash = c.code_hash AND {OPEN}
            RETURNING c.code_hash
        """),  # noqa: S608 - constants
        {"code_hash": code_hash, "session_id": session_id},
    )
    return spent.one_or_none() is not None


async def close(db: AsyncConnection, user_id: UUID) -> None:
    """Makes the user's open codes useless, an operator's too."""
    await db.execute(
        text("DELETE FROM link_codes WHERE user_id = :user_id AND redeemed_at IS NULL"),
        {"user_id": user_id},
    )
