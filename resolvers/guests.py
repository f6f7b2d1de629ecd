"""Guests who come at the same time: their rows, in one transaction for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from auth.errors import RateLimited
from db import guests, rate_counts
from db.direct import Statements
from db.guests import NewGuest
from db.rate_counts import WINDOW, Counted
from db.sessions import SessionRow
from db.users import UserRow


@dataclass(frozen=True, slots=True)
class Arrival:
    """A guest who wants to begin."""

    guest: NewGuest
    network: str  # with whose other guests it is counted


async def begin_together(
    db: Statements, arrivals: Sequence[Arrival], *, limit: int
) -> list[tuple[UserRow, SessionRow] | Exception | None]:
    """The rows of each guest; RateLimited for one too many, None for one without a name.

    limit: guests of one network in a minute; 0: as many as come.
    """
    refused = await over_limit(db, arrivals, limit=limit) if limit else {}
    made = await guests.begin(
        db, [one.guest for one in arrivals if one.guest.user_id not in refused]
    )
    if limit:
        await uncount(db, [one for one in arrivals if one.guest.user_id not in made | refused])
    ids = [one.guest.user_id for one in arrivals]
    return [made.get(user_id) or refused.get(user_id) for user_id in ids]


async def over_limit(
    db: Statements, arrivals: Sequence[Arrival], *, limit: int
) -> dict[UUID, RateLimited]:
    """Counts every guest; who is one too many of a network, the last to come."""
    of_networks: dict[str, list[UUID]] = {}
    for one in arrivals:
        of_networks.setdefault(one.network, []).append(one.guest.user_id)
    counted = await count(db, {network: len(of) for network, of in of_networks.items()}, limit)
    return {
        user_id: RateLimited(counted[network].wait)
        for network, of in of_networks.items()
        for user_id in of[counted[network].allowed :]
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
        counted = (await count(db, {network: 1}, limit))[network]
        if not counted.allowed:
            raise RateLimited(counted.wait)


async def count(db: Statements, guests_of: Mapping[str, int], limit: int) -> dict[str, Counted]:
    """Counts the guests of networks, and how many of these were still allowed."""
    keys = {key_of(network): network for network in guests_of}
    times = {key: guests_of[network] for key, network in keys.items()}
    counted = await rate_counts.count_up_to(db, times, limit=limit, window=WINDOW)
    return {keys[key]: of_key for key, of_key in counted.items()}
