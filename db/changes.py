"""Whose sessions a transaction changes: noted while it runs, told once it has committed.

Whatever records what became of a user's sessions notes the user here, so that no caller can forget
it.
"""

from collections.abc import Iterable
from uuid import UUID

from db.direct import Statements

NOTED = "bigtwo_changed_users"


def collect(db: Statements) -> set[UUID]:
    """What `note` adds to on this connection from now on: a set of the transaction's own."""
    noted: set[UUID] = set()
    db.info[NOTED] = noted
    return noted


def note(db: Statements, user_ids: Iterable[UUID]) -> None:
    """Notes that sessions of users begin, end or change with this transaction."""
    noted = db.info.get(NOTED)
    if noted is not None:
        noted.update(user_ids)
