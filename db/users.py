"""Statements about users and the directory of their names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db import changes
from db.direct import Statements
from db.statements import text

# What a user's row is read as, in the order of UserRow's fields.
COLUMNS = "u.id, u.username, u.is_guest, u.created_at, u.disabled_at, u.role"

# A name as the directory has it. By C's rules in every database: by others a letter beyond ASCII
# becomes one of ASCII (İ is i in C.UTF-8), and a name has spellings that nobody counts as its own.
# The index has the collation of its database.
NAME_KEY = 'lower(CAST(:username AS text) COLLATE "C") COLLATE "default"'


class UserRow(NamedTuple):
    """A user as it was when it was read."""

    id: UUID
    username: str
    is_guest: bool
    created_at: datetime
    disabled_at: datetime | None
    role: str | None

    @property
    def is_administrator(self) -> bool:
        """Whether an operator gave them that role."""
        return self.role == "ADMIN"


async def claim_name(db: AsyncConnection, user_id: UUID, candidates: Iterable[str]) -> str | None:
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


async def create(db: AsyncConnection, user_id: UUID, username: str, *, is_guest: bool) -> UserRow:
    """A user under a name that was claimed for them; of a guest nothing else is known."""
    created = await db.execute(
        text(f"""
            INSERT INTO users AS u (id, username, is_guest) VALUES (:id, :username, :is_guest)
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        {"id": user_id, "username": username, "is_guest": is_guest},
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
        text(f"SELECT {COLUMNS} FROM users u WHERE u.id = :id"),  # noqa: S608 - constants
        {"id": user_id},
    )
    row = found.one_or_none()
    return UserRow(*row) if row else None


async def find_many(db: AsyncConnection, user_ids: Sequence[UUID]) -> list[UserRow]:
    """Those of the users that there are."""
    found = await db.execute(
        text(f"SELECT {COLUMNS} FROM users u WHERE u.id = ANY(:ids)"),  # noqa: S608 - constants
        {"ids": list(user_ids)},
    )
    return [UserRow(*row) for row in found]


async def find_by_name(db: AsyncConnection, username: str) -> UserRow | None:
    """The user of a name, in whatever case; None when there is none."""
    found = await db.execute(
        text(f"""
            SELECT {COLUMNS} FROM usernames n JOIN users u ON u.id = n.user_id
            WHERE n.username_key = {NAME_KEY}
        """),  # noqa: S608 - constants
        {"username": username},
    )
    row = found.one_or_none()
    return UserRow(*row) if row else None


async def newest(db: AsyncConnection, *, limit: int, administrators: bool) -> list[UserRow]:
    """Users, those made last first; all, or the administrators."""
    rows = await db.execute(
        text(f"""
            SELECT {COLUMNS} FROM users u
            WHERE u.role = 'ADMIN' OR NOT :administrators
            ORDER BY u.id DESC LIMIT :limit
        """),  # noqa: S608 - constants
        {"limit": limit, "administrators": administrators},
    )
    return [UserRow(*row) for row in rows]


async def set_role(db: AsyncConnection, user_id: UUID, role: str | None) -> bool:
    """Gives a user a role, or none; whether that changed anything."""
    changed = await db.execute(
        text("""
            UPDATE users SET role = CAST(:role AS text)
            WHERE id = :id AND role IS DISTINCT FROM CAST(:role AS text) RETURNING id
        """),
        {"id": user_id, "role": role},
    )
    return changed.one_or_none() is not None


async def set_disabled(db: AsyncConnection, user_id: UUID, *, disabled: bool) -> bool:
    """Disables or enables a user; whether that changed anything."""
    changes.note(db, [user_id])
    changed = await db.execute(
        text("""
            UPDATE users SET disabled_at = CASE WHEN :disabled THEN now() END
            WHERE id = :id AND (disabled_at IS NOT NULL) <> :disabled RETURNING id
        """),
        {"id": user_id, "disabled": disabled},
    )
    return changed.one_or_none() is not None


async def lock_free(db: Statements, user_ids: Sequence[UUID]) -> set[UUID]:
    """Holds the rows of those users whom nobody else holds; which."""
    locked = await db.execute(
        text("""
            SELECT id FROM users WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
        """),
        {"ids": list(user_ids)},
    )
    return {user_id for (user_id,) in locked}


@dataclass(frozen=True, slots=True)
class PasswordRow:
    """A user's password, by its hash; None where there is none."""

    user_id: UUID
    password_hash: str | None
    is_disabled: bool


async def find_password(db: AsyncConnection, username: str) -> PasswordRow | None:
    """The password of the user of a name, in whatever case; None when there is no such user."""
    found = await db.execute(
        text(f"""
            SELECT u.id, u.password_hash, u.disabled_at IS NOT NULL
            FROM usernames n JOIN users u ON u.id = n.user_id
            WHERE n.username_key = {NAME_KEY}
        """),  # noqa: S608 - a constant
        {"username": username},
    )
    row = found.one_or_none()
    return PasswordRow(*row) if row else None


async def password_of(db: AsyncConnection, user_id: UUID) -> str | None:
    """The hash of the user's password; None where there is none."""
    found = await db.execute(
        text("SELECT password_hash FROM users WHERE id = :id"), {"id": user_id}
    )
    password_hash: str | None = found.scalar_one_or_none()
    return password_hash


async def set_password(db: AsyncConnection, user_id: UUID, password_hash: str) -> None:
    """Gives the user another password."""
    await db.execute(
        text("UPDATE users SET password_hash = :password_hash WHERE id = :id"),
        {"id": user_id, "password_hash": password_hash},
    )


async def rename(db: AsyncConnection, user_id: UUID, username: str) -> bool:
    """Gives the user another name, and frees the old one; False when somebody has the new one."""
    claimed = await db.execute(
        text(f"""
            INSERT INTO usernames (username_key, user_id) VALUES ({NAME_KEY}, :user_id)
            ON CONFLICT DO NOTHING RETURNING username_key
        """),  # noqa: S608 - a constant
        {"username": username, "user_id": user_id},
    )
    if claimed.one_or_none() is None:
        return False
    await db.execute(
        text(f"""
            DELETE FROM usernames WHERE user_id = :user_id AND username_key <> {NAME_KEY}
        """),  # noqa: S608 - a constant
        {"username": username, "user_id": user_id},
    )
    await db.execute(
        text("UPDATE users SET username = :username WHERE id = :user_id"),
        {"username": username, "user_id": user_id},
    )
    return True


async def become_account(db: AsyncConnection, user_id: UUID) -> None:
    """Makes a guest an account."""
    await db.execute(text("UPDATE users SET is_guest = false WHERE id = :id"), {"id": user_id})


async def erase(db: AsyncConnection, user: UserRow, *, reserve: timedelta | None) -> None:
    """Deletes the user and everything of theirs; an account's name stays reserved for a while.

    The user's row must be locked. A key of a retry may name the user for its ten minutes.
    """
    # Sessions before their history: a cleanup that has one of them in its hands is waited for, and
    # what it writes down about it is seen.
    for table in ("user_sessions", "session_events", "identities", "link_codes", "known_networks"):
        await db.execute(
            text(f"DELETE FROM {table} WHERE user_id = :id"),  # noqa: S608 - constants
            {"id": user.id},
        )
    if reserve:
        await db.execute(
            text("UPDATE usernames SET reserved_until = now() + :reserve WHERE user_id = :id"),
            {"id": user.id, "reserve": reserve},
        )
    else:
        await db.execute(text("DELETE FROM usernames WHERE user_id = :id"), {"id": user.id})
    await db.execute(text("DELETE FROM users WHERE id = :id"), {"id": user.id})
    changes.note(db, [user.id])
