"""Guests who come at the same time: their rows, in one transaction for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from auth.errors import RateLimited
from db import events, rate_counts, sessions, users
from db.events import Actor, By, Kind
from db.rate_counts import WINDOW
from db.sessions import NewSession, SessionRow
from db.users import UserRow


@dataclass(frozen=True, slots=True)
class NewGuest:
    """A guest to be, and its first session."""

    user_id: UUID
    names: Iterator[str]  # in lower case, best first
    session: NewSession
    network: str  # with whose other guests it is counted
    limit: int  # of these a minute; 0: as many as come

    @property
    def by(self) -> By:
        """Itself, for the history."""
        return By(Actor.USER, self.user_id, self.session.id, self.session.ip_address)


async def begin_together(
    db: AsyncConnection, guests: Sequence[NewGuest]
) -> list[tuple[UserRow, SessionRow] | Exception | None]:
    """The rows of each guest; RateLimited for one too many, None for one without a free name."""
    refused = await over_limit(db, guests)
    named = await claim_names(db, [guest for guest in guests if guest.user_id not in refused])
    own = await users.create_guests(db, named)
    made = await sessions.create_many(
        db, {g.user_id: g.session for g in guests if g.user_id in own}
    )
    begun = [(made[guest.user_id], guest.by) for guest in guests if guest.user_id in made]
    await events.record_each(db, Kind.CREATED, begun)
    return [
        (own[guest.user_id], made[guest.user_id])
        if guest.user_id in made
        else refused.get(guest.user_id)
        for guest in guests
    ]


async def over_limit(db: AsyncConnection, guests: Sequence[NewGuest]) -> dict[UUID, RateLimited]:
    """Counts every guest; who is one too many.

    In the order of the networks, so that two workers who count the same ones do not deadlock.
    """
    refused = {}
    for guest in sorted(guests, key=lambda guest: guest.network):
        try:
            await count(db, guest.network, limit=guest.limit)
        except RateLimited as error:
            refused[guest.user_id] = error
    return refused


async def count(db: AsyncConnection, network: str, *, limit: int) -> None:
    """Counts a guest of a network. Raises RateLimited; limit 0: as many as come."""
    if limit:
        wait = await rate_counts.count_up_to(db, f"guest {network}", limit=limit, window=WINDOW)
        if wait is not None:
            raise RateLimited(wait)


async def claim_names(db: AsyncConnection, guests: Sequence[NewGuest]) -> dict[UUID, str]:
    """The best name of each guest that was free; nothing for one whose names were all taken."""
    named: dict[UUID, str] = {}
    nameless = guests
    while wished := {g.user_id: name for g in nameless for name in islice(g.names, 1)}:
        named |= await users.claim_names(db, wished)
        nameless = [guest for guest in nameless if guest.user_id not in named]
    return named
