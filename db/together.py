"""Look-ups by key, those of one moment in one statement."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Generic, TypeVar

from db.direct import Direct
from db.engine import Database, Unavailable

K = TypeVar("K")
V = TypeVar("V")

# Statements that are under way at a time. One takes whatever came while the last was under way: the
# more look-ups it has, the less each costs. The other is for when that one takes long.
AT_ONCE = 2
PATIENCE = 0.005  # seconds that look-ups wait for a statement that is under way
# Seconds that a sender keeps its connection: to take one costs as much as twenty look-ups, and
# somebody else may wait for it.
HELD = 0.05
RESTS = 0.002  # of these, without anything to send
BATCH = 500  # look-ups of one statement: a few milliseconds, also where nobody expects so many


class Together(Generic[K, V]):
    """Look-ups by key: those that are asked for in one moment become one statement.

    A look-up joins only a statement that has not been sent, so its row is read after it was asked
    for: strict as a statement of its own, and 32 at once cost PostgreSQL 14 to 20 µs each, not 80.
    """

    def __init__(
        self,
        database: Database,
        read: Callable[[Direct, Sequence[K]], Awaitable[dict[K, V]]],
    ) -> None:
        self._database = database
        self._read = read
        self._asked: dict[K, list[asyncio.Future[V | None]]] = {}
        self._since = 0.0  # of the event loop's clock: when the first of these was asked for
        self._senders: set[asyncio.Task[None]] = set()
        self._resting: set[asyncio.Future[None]] = set()  # of those that have nothing to send
        self._is_due = False  # whether one was told to look what is asked for, and has not yet
        self._patience: asyncio.TimerHandle | None = None  # of what waits for all of them

    def ask(self, key: K) -> "asyncio.Future[V | None]":
        """What is found under a key, or None; raises Unavailable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V | None] = loop.create_future()
        if not self._asked:
            self._since = loop.time()
        self._asked.setdefault(key, []).append(answer)
        if not self._is_due:
            self._have_sent(loop)
        return answer

    async def close(self) -> None:
        """Waits until every sender has given its connection back."""
        if self._senders:
            await asyncio.wait(self._senders)

    def _have_sent(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has somebody send what is asked for: who rests, a first sender, or whoever is done first.

        Who is at work looks before it leaves, so nothing is ever left that nobody looks for.
        """
        if self._resting:
            end(self._resting.pop())
            self._is_due = True
        elif not self._senders:
            self._add_sender(loop)
        elif self._patience is None:
            self._patience = loop.call_later(PATIENCE, self._lose_patience, loop)

    def _add_sender(self, loop: asyncio.AbstractEventLoop) -> None:
        self._senders.add(loop.create_task(self._send()))
        self._is_due = True

    def _lose_patience(self, loop: asyncio.AbstractEventLoop) -> None:
        self._patience = None
        if self._asked and not self._is_due and len(self._senders) < AT_ONCE:
            self._add_sender(loop)

    async def _send(self) -> None:
        """Sends what is asked for, as long as it may keep the connection that it takes."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        is_first = len(self._senders) == 1
        batch: dict[K, list[asyncio.Future[V | None]]] = {}

        async def query(db: Direct) -> None:
            self._is_due = False
            until = loop.time() + HELD
            while True:
                if not batch:  # a second try asks for the same
                    batch.update(self._next())
                if batch:  # or else another sender was faster
                    settle(batch, await self._read(db, list(batch)))
                    batch.clear()
                if loop.time() >= until or not (self._asked or await self._rest(loop)):
                    return

        try:
            await self._database.look_up(query, deadline=self._since + self._database.timeout)
        except BaseException as error:
            if batch or is_first:  # or else another may still be able to
                refuse(batch or self._next(), error)
            self._is_due = False
            if not isinstance(error, Exception):
                raise
        finally:
            self._senders.discard(this)
            if self._asked and not self._is_due:
                self._have_sent(loop)

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Waits for a moment; whether there is something to send now."""
        rest = loop.create_future()
        self._resting.add(rest)
        clock = loop.call_later(RESTS, end, rest)
        try:
            await rest
        finally:
            clock.cancel()
            self._resting.discard(rest)
            self._is_due = False
        return bool(self._asked)

    def _next(self) -> dict[K, list[asyncio.Future[V | None]]]:
        """What is asked for now; whatever comes later, or is too much, is another statement's."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        batch = dict(islice(self._asked.items(), BATCH))
        self._asked = {key: self._asked[key] for key in self._asked.keys() - batch.keys()}
        return batch


@asynccontextmanager
async def taken(turns: asyncio.Semaphore, deadline: float) -> AsyncIterator[None]:
    """One of so many turns. Raises Unavailable at the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            await turns.acquire()
    except TimeoutError:
        raise Unavailable("every statement takes too long") from None
    try:
        yield
    finally:
        turns.release()


def end(rest: "asyncio.Future[None]") -> None:
    """Ends a sender's rest."""
    if not rest.done():
        rest.set_result(None)


def settle(batch: dict[K, list["asyncio.Future[V | None]"]], found: dict[K, V]) -> None:
    """Tells all who asked what was found."""
    for key, answers in batch.items():
        for answer in answers:
            if not answer.done():
                answer.set_result(found.get(key))


def refuse(batch: dict[K, list["asyncio.Future[V | None]"]], error: BaseException) -> None:
    """Tells all who asked that nobody can say."""
    of, why = (type(error), error.args) if isinstance(error, Exception) else (Unavailable, ())
    for answers in batch.values():
        for answer in answers:
            if not answer.done():
                answer.set_exception(of(*why))  # one each: a traceback grows with every raise
