"""Statements about users and the directory of their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user as it was when it was read."""

    id: UUID
    username: str
    is_guest: bool
    created_at: datetime
    disabled_at: datetime | None


async def claim_name(db: AsyncConnection, user_id: UUID, candidates: Sequence[str]) -> str | None:
    """The first candidate (already lower case) that was free, now the user's; None when none was.

    Two claims of one name at the same moment: the second waits for the first, then finds it taken.
    """
    claimed = await db.execute(
        text("""
            INSERT INTO usernames (username_key, user_id)
            SELECT candidate, :user_id
            FROM unnest(CAST(:candidates AS text[])) WITH ORDINALITY AS c (candidate, place)
            WHERE NOT EXISTS (SELECT FROM usernames WHERE username_key = candidate)
            ORDER BY place
            LIMIT 1
            ON CONFLICT DO NOTHING
            RETURNING username_key
        """),
        {"user_id": user_id, "candidates": list(candidates)},
    )
    return claimed.scalar_one_or_none()


async def create_guest(db: AsyncConnection, user_id: UUID, username: str) -> UserRow:
    """A user of whom nothing is known but the name that was claimed for them."""
    created = await db.execute(
        text("""
            INSERT INTO users (id, username, is_guest) VALUES (:id, :username, true)
            RETURNING id, username, is_guest, created_at, disabled_at
        """),
        {"id": user_id, "username": username},
    )
    return UserRow(*created.one())


async def lock(db: AsyncConnection, *user_ids: UUID) -> None:
    """Holds the rows of users until the transaction ends, in the order of their ids.

    Whoever changes something about a user's sessions does this first, in a statement of its own,
    so that the statements after it see all that was committed while it waited.
    """
    await db.execute(
        text("SELECT FROM users WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": list(user_ids)},
    )


async def find(db: AsyncConnection, user_id: UUID) -> UserRow | None:
    """A user; None when there is none."""
    found = await db.execute(
        text("SELECT id, username, is_guest, created_at, disabled_at FROM users WHERE id = :id"),
        {"id": user_id},
    )
    row = found.one_or_none()
    return UserRow(*row) if row else None
