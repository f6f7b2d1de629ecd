"""Throttling of guesses: counted before a password is hashed, by all workers together.

Three counters for a guess from outside: the network's, the pair's of account and network, and the
account's. The last one refuses only networks from which nobody has signed in to the account lately,
so that guessing from many networks locks its owner out of nothing. Unknown accounts count alike.
Proofs within a live session have a counter of that session's own.
"""

from datetime import timedelta
from uuid import UUID

from auth import codes
from auth.errors import RateLimited
from db import known_networks, rate_counts
from db.engine import Database

WINDOW = timedelta(minutes=10)
PAIR_LIMIT = 10  # guesses at an account from one network
SESSION_LIMIT = 10  # proofs within a live session
ACCOUNT_WINDOW = timedelta(hours=1)
ACCOUNT_LIMIT = 100  # guesses at an account from everywhere


class Throttle:
    """The limits of one server; network_limit: guesses of a network in the window, 0 = no limit."""

    def __init__(self, database: Database, *, network_limit: int) -> None:
        self._database = database
        self._network_limit = network_limit

    async def network(self, network: str) -> None:
        """Counts something that a network may do only so often. Raises RateLimited."""
        if self._network_limit:
            key = network_key(network)
            await self._count({key: WINDOW}, {key: self._network_limit})

    async def guess(self, username: str, network: str) -> None:
        """Counts a guess at an account. Raises RateLimited."""
        pair, account = keys(username, network)
        windows = {pair: WINDOW, account: ACCOUNT_WINDOW}
        limits = {pair: PAIR_LIMIT}
        if self._network_limit:
            whole = network_key(network)
            windows[whole], limits[whole] = WINDOW, self._network_limit
        counted = await self._count(windows, limits)
        made, wait = counted[account]
        if made > ACCOUNT_LIMIT and not await self._database.read(
            lambda db: known_networks.is_known(db, username, network)
        ):
            raise RateLimited(wait)

    async def proof(self, session_id: UUID) -> None:
        """Counts a proof within a live session. Raises RateLimited."""
        key = f"session {session_id}"
        await self._count({key: WINDOW}, {key: SESSION_LIMIT})

    async def right(self, username: str, network: str) -> None:
        """Takes a guess back that was right."""
        async with self._database.begin() as db:
            await rate_counts.take_back(db, keys(username, network))

    async def _count(
        self, windows: dict[str, timedelta], limits: dict[str, int]
    ) -> dict[str, tuple[int, float]]:
        async with self._database.begin() as db:
            counted = await rate_counts.count_all(db, windows)
        waits = [counted[key][1] for key, limit in limits.items() if counted[key][0] > limit]
        if waits:
            raise RateLimited(max(waits))
        return counted


def network_key(network: str) -> str:
    """The counter of a network."""
    return f"network {network}"


def keys(username: str, network: str) -> tuple[str, str]:
    """The counters of a guess: pair and account. What was typed is not written down."""
    account = codes.digest("account", username.lower()).hex()
    return f"pair {account} {network}", f"account {account}"
