"""Guests who come at the same time: their rows, in one transaction for all of them."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from auth.errors import RateLimited
from db import guests, rate_counts
from db.direct import Direct, Statements
from db.guests import NewGuest
from db.rate_counts import WINDOW
from db.sessions import SessionRow
from db.users import UserRow


class Arrival(NamedTuple):
    """A guest who wants to begin."""

    guest: NewGuest
    network: str  # with whose other guests it is counted


async def begin_together(
    db: Direct, arrivals: Sequence[Arrival], *, limit: int
) -> list[tuple[UserRow, SessionRow] | Exception | None]:
    """The rows of each guest; RateLimited for one too many, None for one without a name.

    limit: guests of one network in a minute; 0: as many as come, and one statement is all.
    """
    if limit:
        async with db.begin():
            refused = await over_limit(db, arrivals, limit=limit)
            allowed = [one for one in arrivals if one.guest.user_id not in refused]
            made = await guests.begin(db, [one.guest for one in allowed])
            await uncount(db, [one for one in allowed if one.guest.user_id not in made])
    else:
        refused, made = {}, await guests.begin(db, [one.guest for one in arrivals])
    ids = [one.guest.user_id for one in arrivals]
    return [made.get(user_id) or refused.get(user_id) for user_id in ids]


async def over_limit(
    db: Statements, arrivals: Sequence[Arrival], *, limit: int
) -> dict[UUID, RateLimited]:
    """Counts every guest; who is one too many of a network, the last to come."""
    of_keys: dict[str, list[UUID]] = {}
    for one in arrivals:
        of_keys.setdefault(key_of(one.network), []).append(one.guest.user_id)
    times = {key: len(of_key) for key, of_key in of_keys.items()}
    counted = await rate_counts.count_up_to(db, times, limit=limit, window=WINDOW)
    return {
        user_id: RateLimited(counted[key].wait)
        for key, of_key in of_keys.items()
        for user_id in of_key[counted[key].allowed :]
    }


async def uncount(db: Statements, nameless: Sequence[Arrival]) -> None:
    """Counts guests once less: they come again, alone."""
    for one in nameless:
        await rate_counts.take_back(db, key_of(one.network))


def key_of(network: str) -> str:
    """Under what the guests of a network are counted."""
    return f"guest {network}"


async def count_alone(db: Statements, network: str, *, limit: int) -> None:
    """Counts a guest of a network. Raises RateLimited; limit 0: as many as come."""
    if limit:
        times = {key_of(network): 1}
        (counted,) = (await rate_counts.count_up_to(db, times, limit=limit, window=WINDOW)).values()
        if not counted.allowed:
            raise RateLimited(counted.wait)
