"""Writes that wait at the same time, in one transaction and one commit.

A durable write waits for the disk's flush, and so do all that come meanwhile: what they share costs
one flush for all, and a sixteenth of the server's work for each. Nobody is answered before the
commit. Whoever cannot take part, and everybody where it failed, does the same alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

import structlog

from db.direct import Direct
from db.engine import Database, Unavailable
from db.statements import text
from db.turns import taken

M = TypeVar("M")
R = TypeVar("R")

# Transactions that are under way at a time. One has whatever came while the last was under way: the
# fewer there are, the less each member costs, and meanwhile the server works on requests. The other
# is for when that one takes long.
AT_ONCE = 2
PATIENCE = 0.01  # seconds that writes wait for a transaction that is under way
MOST = 64  # members of one: as many requests are lost to a broken connection, and do it again

log = structlog.get_logger()

# For each member what became of it; an exception is the member's own, None says: not here.
Write = Callable[[Direct, Sequence[M]], Awaitable[Sequence[R | Exception | None]]]
Waiting = tuple[M, asyncio.Future[R | None]]


class Shared(Generic[M, R]):
    """One kind of write; a transaction has at most one of each owner, so its members never meet."""

    def __init__(self, database: Database, write: Write[M, R]) -> None:
        self._database = database
        self._write = write
        self._waiting: dict[Hashable, Waiting[M, R]] = {}
        self._last: dict[Hashable, asyncio.Future[R | None]] = {}  # of each owner's
        self._deadlines: dict[asyncio.Future[R | None], float] = {}  # of who waits for an answer
        self._clock: asyncio.TimerHandle | None = None  # for the first of these
        self._sender: asyncio.Task[None] | None = None  # who takes what waits now
        self._next_may_begin = asyncio.Event()  # after the last transaction that has begun
        self._next_may_begin.set()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._is_distributed: bool | None = None  # unknown until the first transaction

    async def ask(self, member: M, *, owner: Hashable, deadline: float) -> R | None:
        """What became of a write; None when it must be done alone.

        An owner's next joins when their last is answered: it would find their row locked. At the
        deadline, or when it is called off, only this member stops waiting: what it asked
        for may happen all the same. Raises Unavailable, and what the write has for this member.
        """
        if self._is_distributed:
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R | None] = loop.create_future()
        last, self._last[owner] = self._last.get(owner), answer
        self._deadlines[answer] = deadline
        if self._clock is None or deadline < self._clock.when():
            self._set_clock(loop, deadline)
        self._join(owner, (member, answer), after=last)
        try:
            return await answer
        finally:
            del self._deadlines[answer]
            if self._last.get(owner) is answer:
                del self._last[owner]

    def _join(
        self, owner: Hashable, waiting: Waiting[M, R], after: asyncio.Future[R | None] | None
    ) -> None:
        """Waits for the next transaction, after the owner's earlier write; unless called off."""
        if after is None or after.done():  # called off, perhaps, and another one is before it
            _, after = self._waiting.get(owner, (None, None))
        if after is not None and not after.done():
            after.add_done_callback(lambda done: self._join(owner, waiting, done))
        elif not waiting[1].done():
            self._waiting[owner] = waiting
            if self._sender is None or self._sender.done():
                self._sender = asyncio.get_running_loop().create_task(self._send())

    def _set_clock(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._clock:
            self._clock.cancel()
        self._clock = loop.call_at(when, self._tend, loop)

    def _tend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuses those whose time is up. One clock for all: one each costs 5 % of a new guest."""
        for answer, deadline in self._deadlines.items():
            if deadline <= loop.time() and not answer.done():
                answer.set_exception(Unavailable("a shared transaction takes too long"))
        self._clock = None
        left = [deadline for answer, deadline in self._deadlines.items() if not answer.done()]
        if left:
            self._set_clock(loop, min(left))

    async def _send(self) -> None:
        """Writes what has come until it can begin, and answers once it is committed."""
        batch: list[Waiting[M, R]] | None = None
        loop = asyncio.get_running_loop()
        may_begin, next_may_begin = self._next_may_begin, asyncio.Event()
        self._next_may_begin = next_may_begin
        try:
            await may_begin.wait()
            loop.call_later(PATIENCE, next_may_begin.set)
            deadline = loop.time() + self._database.timeout
            async with (
                taken(self._turns, deadline, "every statement takes too long"),
                self._database.write_directly(deadline=deadline) as db,
            ):
                batch = self._next()
                done = await self._done(db, [member for member, _ in batch])
        except Exception as error:  # noqa: BLE001 - told to who was alone, or met again by each
            batch = self._next() if batch is None else batch
            log.warning("shared_transaction_failed", members=len(batch), error=type(error).__name__)
            done = [error if len(batch) == 1 else None] * len(batch)
        finally:
            next_may_begin.set()
        for (_, answer), became in zip(batch, done, strict=True):
            if not answer.done():
                settle(answer, became)

    async def _done(self, db: Direct, members: Sequence[M]) -> Sequence[R | Exception | None]:
        """What became of the members; nothing on a distributed PostgreSQL.

        There SKIP LOCKED over several users is refused, and a transaction would span shards.
        """
        if self._is_distributed is None:
            ((found,),) = await db.execute(text("SELECT to_regclass('pg_dist_node') IS NOT NULL"))
            self._is_distributed = bool(found)
        if self._is_distributed or not members:
            return [None] * len(members)
        return await self._write(db, members)

    def _next(self) -> list[Waiting[M, R]]:
        """Those who wait now, but for the ones that were called off, and at most so many."""
        owners = list(self._waiting)[:MOST]
        batch = [self._waiting.pop(owner) for owner in owners]
        again = bool(self._waiting)
        self._sender = asyncio.get_running_loop().create_task(self._send()) if again else None
        return [waiting for waiting in batch if not waiting[1].done()]


def settle(answer: "asyncio.Future[R | None]", became: R | Exception | None) -> None:
    """Answers a member."""
    if isinstance(became, Exception):
        answer.set_exception(became)
    else:
        answer.set_result(became)
