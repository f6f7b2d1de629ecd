"""Reads the rows of what is open again and again: all of them once a second, some at once.

The rows decide. The bus only says which to look at first, so a lost message, a killed process or a
row that somebody changed or deleted by hand costs a second and no more. Looks come one after the
other, so that what one saw is never older than what the one before it saw.
"""

import asyncio
import math
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from db import open_sessions, sessions
from db.engine import Database, Unavailable
from db.sessions import Key, OwnedSession
from live.held import Feed, Held

INTERVAL = 1.0  # seconds in which every row is read once
INTERVAL_ALONE = 0.5  # while nobody tells of changes
SLICES = 20  # into which a round is cut, at most
SMALLEST_SLICE = 25  # users
BATCH = 200  # users of one look whose rows are read ahead of their time
PAUSE = (0.1, 0.3)  # seconds after a look that was not answered, drawn at random
PATROL = 0.25  # seconds between looks for what nobody could confirm
JUST_AFTER = 0.005  # seconds after a deadline: it has passed then

log = structlog.get_logger()


@dataclass
class Look:
    """One look at some users' rows: what it was taken for, and what it saw."""

    held: Sequence[Held]
    feeds: Sequence[tuple[UUID, Feed]]
    left: dict[Key, float] = field(default_factory=dict)
    rows: dict[UUID, list[OwnedSession]] = field(default_factory=dict)
    ended: dict[UUID, OwnedSession] = field(default_factory=dict)

    async def take(self, db: AsyncConnection) -> None:
        """Reads. One's own row last: who is told of others' changes was in when they were seen."""
        users = {user_id for user_id, _ in self.feeds}
        if users:
            self.rows = {user_id: [] for user_id in users}
            for row in await open_sessions.of_users(db, users):
                self.rows[row.user.id].append(row)
        self.left = await open_sessions.time_left(db, {held.key for held in self.held})
        missing = {held.key for held in self.held if held.key not in self.left}
        for user_id, feed in self.feeds:
            missing |= {Key(user_id, gone) for gone in feed.gone(self.rows[user_id])}
        if missing:
            found = await sessions.find_many(db, list(missing))
            self.ended = {key.session_id: found[key] for key in missing if key in found}


class Watch:
    """All that is open in one process, by whose it is."""

    def __init__(self, database: Database, is_told: Callable[[], bool]) -> None:
        self._database = database
        self._is_told = is_told
        self._by_user: dict[UUID, set[Held]] = {}
        self._due: dict[UUID, None] = {}  # in the order of coming
        self._round: list[UUID] = []
        self._next_slice = 0.0
        self._wake = asyncio.Event()

    def add(self, held: Held) -> None:
        """Watches it from now on."""
        self._by_user.setdefault(held.key.user_id, set()).add(held)
        self._wake.set()

    def remove(self, held: Held) -> None:
        """It is open no more."""
        of_user = self._by_user.get(held.key.user_id, set())
        of_user.discard(held)
        if not of_user:
            self._by_user.pop(held.key.user_id, None)

    def count(self, key: Key) -> int:
        """How much is open in the name of one session."""
        return sum(held.key == key for held in self._by_user.get(key.user_id, ()))

    def feed(self, held: Held) -> Feed:
        """A subscription; its rows are read at once."""
        feed = Feed(held)
        self.told({held.key.user_id})
        return feed

    def told(self, user_ids: Collection[UUID] | None) -> None:
        """Sessions of these users may have changed; None: anybody's may."""
        ours = self._by_user if user_ids is None else filter(self._by_user.__contains__, user_ids)
        self._due.update(dict.fromkeys(ours))
        if self._due:
            self._wake.set()

    async def run(self) -> None:
        """Looks for ever; ends by being cancelled, and by nothing else."""
        while True:
            users = await self._users_to_look_at()
            try:
                await self._look(users)
            except Unavailable:
                self.told(users)
                await asyncio.sleep(random.uniform(*PAUSE))  # noqa: S311 - jitter
            except Exception as error:  # noqa: BLE001 - a bug here must not end the watch
                log.warning("watch_failed", error=type(error).__name__)
                await asyncio.sleep(PAUSE[1])

    async def patrol(self) -> None:
        """Lets go, for ever, of what nobody could confirm for too long."""
        while True:
            await asyncio.sleep(PATROL)
            for held in [h for of_user in self._by_user.values() for h in of_user if h.is_lost]:
                held.on_lost()

    async def _users_to_look_at(self) -> list[UUID]:
        """Waits until there are some: those that are due, and the next slice at its time."""
        while True:
            now = asyncio.get_running_loop().time()
            users = list(islice(self._due, BATCH))
            for user_id in users:
                del self._due[user_id]
            if self._by_user and now >= self._next_slice:
                users += self._slice(now)
            if users:
                return users
            self._wake.clear()
            wait = max(0.0, self._next_slice - now) if self._by_user else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _slice(self, now: float) -> list[UUID]:
        """The next of the users whose turn it is, so many that all come once in the interval."""
        count = len(self._by_user)
        slices = min(SLICES, math.ceil(count / SMALLEST_SLICE))
        if not self._round:
            self._round = list(self._by_user)
        size = math.ceil(count / slices)
        taken, self._round = self._round[:size], self._round[size:]
        interval = INTERVAL if self._is_told() else INTERVAL_ALONE
        self._next_slice = max(self._next_slice + interval / slices, now)
        return taken

    async def _look(self, users: Iterable[UUID]) -> None:
        began = asyncio.get_running_loop().time()
        held = [h for user_id in set(users) for h in self._by_user.get(user_id, ())]
        if not held:
            return
        feeds = [(h.key.user_id, feed) for h in held for feed in h.feeds]

        async def take(db: AsyncConnection) -> Look:
            look = Look(held, feeds)
            await look.take(db)
            return look

        self._tell(await self._database.read(take), began)

    def _tell(self, look: Look, began: float) -> None:
        for user_id, feed in look.feeds:
            feed.saw(look.rows[user_id], look.ended)
        loop = asyncio.get_running_loop()
        for held in look.held:
            left = look.left.get(held.key)
            if left is None:
                held.on_gone(look.ended.get(held.key.session_id))
                continue
            held.confirm(began)
            if left < 2 * INTERVAL:
                loop.call_later(max(0.0, left) + JUST_AFTER, self.told, {held.key.user_id})
