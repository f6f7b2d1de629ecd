"""Who the caller is."""

import strawberry

from context import Info
from db.users import UserRow
from schema.types import User


def viewer(info: Info) -> User | None:
    """The caller's user, as the door read it."""
    caller = info.context.viewer
    return to_user(caller.user) if caller else None


def to_user(row: UserRow) -> User:
    """The public type of a user's row."""
    return User(
        id=strawberry.ID(str(row.id)),
        username=row.username,
        is_guest=row.is_guest,
        created_at=row.created_at,
    )
