"""The caller of a request, as a value that is passed on explicitly."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from db.sessions import SessionRow
from db.users import UserRow


class Viewer(NamedTuple):
    """Who holds a token whose session was live when the door read it."""

    user: UserRow
    session: SessionRow
    live: Sequence[SessionRow] | None = None  # their live sessions, where they were read along

    @property
    def user_id(self) -> UUID:
        """The caller's user: the owner in every statement."""
        return self.user.id

    @property
    def session_id(self) -> UUID:
        """The caller's own session."""
        return self.session.id
