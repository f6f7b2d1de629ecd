"""How somebody proves who they are: one function for each login method.

A method only verifies. Whoever begins the session then spends what may be used once, in the
transaction that makes the session.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from auth import codes
from db import link_codes


@dataclass(frozen=True, slots=True)
class Proof:
    """Whom a credential stands for."""

    user_id: UUID
    authenticated_at: datetime | None  # when they last proved it otherwise
    link_code: bytes  # the hash of the code that is to be spent
    spent_for: UUID | None = None  # the session that was made with it already

    def is_good_for(self, session_id: UUID | None) -> bool:
        """Whether it still counts: for a new session (None), or for one that it made."""
        return self.spent_for is None or self.spent_for == session_id


async def link_code(db: AsyncConnection, code: str) -> Proof | None:
    """The proof in a link code; None for a wrong or a late one, and for what is no code."""
    code_hash = codes.link_code_hash(code)
    found = await link_codes.find(db, code_hash) if code_hash else None
    if code_hash is None or found is None:
        return None
    return Proof(found.user_id, found.authenticated_at, code_hash, found.redeemed_session_id)
