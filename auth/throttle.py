"""Throttling of guesses: counted before a password is hashed, by all workers together.

Three counters for a guess from outside: the network's, the pair's of account and network, and the
account's. What one of them refuses counts in none after it: a single network, which has ten guesses
at an account, cannot fill the account's counter. That one refuses only networks from which nobody
has signed in to the account lately, so that guessing from many networks locks its owner out of
nothing. Unknown accounts count alike.
Proofs within a live session have a counter of that session's own.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Counter:
    """What is counted, how long, and how often it may be done in that time."""

    key: str
    window: timedelta
    limit: int


class Throttle:
    """The limits of one server; network_limit: guesses of a network in the window, 0 = no limit."""

    def __init__(self, database: Database, *, network_limit: int) -> None:
        self._database = database
        self._network_limit = network_limit

    async def network(self, network: str) -> None:
        """Counts something that a network may do only so often. Raises RateLimited."""
        await self._count(*self._of_network(network))

    async def guess(self, username: str, network: str) -> None:
        """Counts a guess at an account. Raises RateLimited."""
        pair, account = of_account(username, network)
        over = await self._first_over(*self._of_network(network), pair, account)
        if over is None:
            return
        counter, wait = over
        if counter is not account or not await self._database.read(
            lambda db: known_networks.is_known(db, username, network)
        ):
            raise RateLimited(wait)

    async def proof(self, session_id: UUID) -> None:
        """Counts a proof within a live session. Raises RateLimited."""
        await self._count(Counter(f"session {session_id}", WINDOW, SESSION_LIMIT))

    async def right(self, username: str, network: str) -> None:
        """Takes a guess back that was right."""
        async with self._database.begin() as db:
            for counter in of_account(username, network):
                await rate_counts.take_back(db, counter.key)

    def _of_network(self, network: str) -> list[Counter]:
        limit = self._network_limit
        return [Counter(f"network {network}", WINDOW, limit)] if limit else []

    async def _count(self, *counters: Counter) -> None:
        over = await self._first_over(*counters)
        if over:
            raise RateLimited(over[1])

    async def _first_over(self, *counters: Counter) -> tuple[Counter, float] | None:
        """Counts in this order up to the first that is over its limit; that, and its seconds left.

        Everybody counts in one order, so that no two wait for each other.
        """
        if not counters:
            return None
        async with self._database.begin() as db:
            for counter in counters:
                made, wait = await rate_counts.count(db, counter.key, window=counter.window)
                if made > counter.limit:
                    return counter, wait
        return None


def of_account(username: str, network: str) -> tuple[Counter, Counter]:
    """The counters of a guess: pair and account. What was typed is not written down."""
    account = codes.digest("account", username.lower()).hex()
    return (
        Counter(f"pair {account} {network}", WINDOW, PAIR_LIMIT),
        Counter(f"account {account}", ACCOUNT_WINDOW, ACCOUNT_LIMIT),
    )
