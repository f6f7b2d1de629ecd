"""Look-ups by key, those of one moment in one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice, takewhile
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

# Since when, by the event loop's clock, somebody waits to know what is found under a key.
Question = tuple[float, list[asyncio.Future[V | None]]]


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
        self._asked: dict[K, Question[V]] = {}  # in the order of coming
        # Each with what it has taken of these, until that is answered.
        self._senders: dict[asyncio.Task[None], dict[K, Question[V]]] = {}
        self._resting: set[asyncio.Future[None]] = set()  # senders that have nothing to send
        self._clock: asyncio.TimerHandle | None = None  # for whoever waits long

    def ask(self, key: K) -> "asyncio.Future[V | None]":
        """What is found under a key, or None; raises Unavailable, at the deadline at last."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V | None] = loop.create_future()
        question = self._asked.get(key)
        if question is None:
            self._asked[key] = loop.time(), [answer]
        else:
            question[1].append(answer)
        if self._resting:
            end(self._resting.pop())
        elif not self._senders:
            self._add_sender(loop)
        if self._clock is None:
            self._clock = loop.call_later(PATIENCE, self._tend, loop)
        return answer

    async def close(self) -> None:
        """Waits until every sender has given its connection back."""
        if self._senders:
            await asyncio.wait(self._senders)

    def _tend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks after those who wait: for another sender, or no longer."""
        now, waiting = loop.time(), [self._asked, *self._senders.values()]
        for questions in waiting:
            refuse_old(questions, now - self._database.timeout)
        first = next(iter(self._asked.values()), None)
        if first and first[0] <= now - PATIENCE and len(self._senders) < AT_ONCE:
            self._add_sender(loop)
        self._clock = loop.call_later(PATIENCE, self._tend, loop) if any(waiting) else None

    def _add_sender(self, loop: asyncio.AbstractEventLoop) -> None:
        self._senders[loop.create_task(self._send(loop))] = {}

    async def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sends what is asked for, as long as it may keep the connection that it takes."""
        this: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # there is one
        is_first, batch = len(self._senders) == 1, self._senders[this]
        latest = loop.time() + self._database.timeout / 2  # to begin a statement at

        async def query(db: Direct) -> None:
            is_second_try = bool(batch)
            until = min(loop.time() + HELD, latest)
            await self._send_next(db, batch)
            # After a second try no other statement: each is to have two.
            while not is_second_try and loop.time() < until:
                if not (self._asked or await self._rest(loop)):
                    break
                await self._send_next(db, batch)

        try:
            await self._database.look_up(query)
        except BaseException as error:
            if not batch and is_first:  # or else another one may still be able to
                batch.update(self._next())
            refuse(batch, error)
            if not isinstance(error, Exception):
                raise
        finally:
            del self._senders[this]
            if self._asked and not self._senders:
                self._add_sender(loop)

    async def _send_next(self, db: Direct, batch: dict[K, Question[V]]) -> None:
        """Sends what a first try has left, or what is asked for now; if anything is."""
        if not batch:
            batch.update(self._next())
        if batch:
            settle(batch, await self._read(db, list(batch)))
            batch.clear()

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
        return bool(self._asked)

    def _next(self) -> dict[K, Question[V]]:
        """What was asked for first; what comes later, or is too much, is another statement's."""
        if len(self._asked) <= BATCH:
            batch, self._asked = self._asked, {}
            return batch
        return {key: self._asked.pop(key) for key in list(islice(self._asked, BATCH))}


def end(rest: "asyncio.Future[None]") -> None:
    """Ends a sender's rest."""
    if not rest.done():
        rest.set_result(None)


def settle(questions: dict[K, Question[V]], found: dict[K, V]) -> None:
    """Tells all who asked what was found."""
    for key, (_, answers) in questions.items():
        for answer in answers:
            if not answer.done():
                answer.set_result(found.get(key))


def refuse(questions: dict[K, Question[V]], error: BaseException) -> None:
    """Tells all who asked that nobody can say."""
    of, why = (type(error), error.args) if isinstance(error, Exception) else (Unavailable, ())
    for _, answers in questions.values():
        for answer in answers:
            if not answer.done():
                answer.set_exception(of(*why))  # one each: a traceback grows with every raise


def refuse_old(questions: dict[K, Question[V]], then: float) -> None:
    """Tells those who have asked since then or longer that it takes too long."""
    old = dict(takewhile(lambda asked: asked[1][0] <= then, questions.items()))
    refuse(old, Unavailable("every statement takes too long"))
    for key in old:
        del questions[key]
