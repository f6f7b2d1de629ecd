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

# Statements that are under way at a time: one is prepared and read while PostgreSQL works at the
# other. More would make them smaller, and take connections from whoever writes.
AT_ONCE = 2
# Seconds that one sender keeps a connection, as long as more is asked for: to take one costs 60 µs.
HELD = 0.05
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
        self._sender: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    def ask(self, key: K) -> "asyncio.Future[V | None]":
        """What is found under a key, or None; raises Unavailable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V | None] = loop.create_future()
        self._asked.setdefault(key, []).append(answer)
        self._send_soon()
        return answer

    async def _send(self) -> None:
        """Sends what was asked for until there is a connection, and what is asked for meanwhile."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        batch: dict[K, list[asyncio.Future[V | None]]] = {}

        async def query(db: Direct) -> None:
            if self._sender is this:
                self._sender = None  # whatever comes from now on may have another one
            until = loop.time() + HELD
            while batch or (self._asked and loop.time() < until):
                if not batch:  # a second try asks for the same
                    batch.update(self._next())
                settle(batch, await self._read(db, list(batch)))
                batch.clear()

        deadline = loop.time() + self._database.timeout
        try:
            async with taken(self._turns, deadline):
                await self._database.look_up(query, deadline=deadline)
        except BaseException as error:
            refuse(batch or self._next(), error)
            if not isinstance(error, Exception):
                raise
        finally:
            if self._sender is this:
                self._sender = None
            self._send_soon()

    def _send_soon(self) -> None:
        if self._asked and self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())

    def _next(self) -> dict[K, list[asyncio.Future[V | None]]]:
        """What is asked for now; whatever comes later, or is too much, is another statement's."""
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
