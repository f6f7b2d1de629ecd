"""What is open in a session's name: a socket or a stream, and the subscriptions over it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from db.sessions import Key, OwnedSession
from live.changes import Change, Seen

SILENT_AFTER = 2.0  # seconds without an answer about its row after which it is told no event
LOST_AFTER = 5.0  # seconds after which it is closed
SPREAD = 3.0  # seconds over which those are closed, so that they do not come back all at once
MAX_CHANGES = 1_000  # that wait for a reader


class SlowReaderError(Exception):
    """More has happened than the reader took."""


class FeedClosed(Exception):
    """Nobody listens any more."""


class Held:
    """An open socket or stream of a session; it lives as long as its row does.

    on_gone is called when the row lets nobody in any more, with the row if there is one; on_lost
    when nobody could say for too long. Either may be called more than once.
    """

    def __init__(
        self,
        key: Key,
        on_gone: Callable[[OwnedSession | None], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.key = key
        self.on_gone = on_gone
        self.on_lost = on_lost
        self.feeds: set[Feed] = set()
        self._confirmed_at = asyncio.get_running_loop().time()
        self._lost_after = LOST_AFTER + random.uniform(0, SPREAD)  # noqa: S311 - no secret

    def confirm(self, at: float) -> None:
        """Its row let it in, at this time of the loop's or later."""
        self._confirmed_at = max(self._confirmed_at, at)
        for feed in self.feeds:
            feed.stir()

    @property
    def is_confirmed(self) -> bool:
        """Whether its row has been read just now."""
        return self._age < SILENT_AFTER

    @property
    def is_lost(self) -> bool:
        """Whether its row has not been read for too long."""
        return self._age > self._lost_after

    @property
    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._confirmed_at


class Feed:
    """What happens to the user's other sessions, for one subscription, from now on."""

    def __init__(self, held: Held) -> None:
        self.ready = asyncio.Event()  # what was before is known, and what comes is news
        self._held = held
        self._seen: Seen | None = None
        self._waiting: deque[Change] = deque()
        self._news = asyncio.Event()
        self._is_closed = False
        held.feeds.add(self)

    def close(self) -> None:
        """Nobody listens any more."""
        self._held.feeds.discard(self)
        self._is_closed = True
        self.ready.set()
        self._news.set()

    def stir(self) -> None:
        """Lets a reader look again."""
        if self._waiting:
            self._news.set()

    def gone(self, rows: Sequence[OwnedSession]) -> set[UUID]:
        """The sessions among those last seen whose end is not known yet."""
        return self._seen.gone(rows) if self._seen else set()

    def saw(self, rows: Sequence[OwnedSession], ended: Mapping[UUID, OwnedSession]) -> None:
        """Takes note of how the user's sessions are now."""
        if self._seen is None:
            self._seen = Seen(self._held.key.session_id, rows)
            self.ready.set()
            return
        self._waiting += self._seen.compare(rows, ended)
        self.stir()

    async def take(self) -> Change:
        """The next change, once there is one and the session is known to live.

        Raises SlowReaderError, FeedClosed.
        """
        while True:
            if self._is_closed:
                raise FeedClosed
            if len(self._waiting) > MAX_CHANGES:
                raise SlowReaderError
            if self._waiting and self._held.is_confirmed:
                return self._waiting.popleft()
            self._news.clear()
            await self._news.wait()
