"""The way to the database: reads in autocommit, writes in transactions, both with a deadline.

Whatever keeps the database from answering becomes one exception, Unavailable, so that nobody
mistakes a sick server for a refused client.

Unavailable
├── ConnectionLost   the connection broke, or what it had prepared: another one may do at once
├── NotPrimary       it leads to a standby
└── NotMigrated      what a statement asks for is not there yet
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db import changes
from db.direct import Direct, Statements
from db.times import remember_times
from db.url import connect_arguments

T = TypeVar("T")

# What PostgreSQL answers when the trouble is its own or its operator's, not the statement's.
# Classes: 08 connection, 28 authorization, 3D no such database, 53 resources (disk full),
# 57 operator intervention (shutdown, statement_timeout), 58 system, XX internal.
UNAVAILABLE_CLASSES = ("08", "28", "3D", "53", "57", "58", "XX")
READ_ONLY = "25006"  # no longer the primary
WORTH_A_SECOND_TRY = frozenset(
    {
        "0A000",  # a prepared plan outlived a migration
        "40001",  # serialisation failure
        "40P01",  # deadlock
    }
)
# What asyncpg raises between a server's word that it ends the connection and the end itself.
OutOfStep = asyncpg.InternalClientError
OF_THE_DATABASE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
UNDEFINED = frozenset({"42703", "42P01"})  # no such column, no such table
UNAVAILABLE_STATES = WORTH_A_SECOND_TRY | {
    READ_ONLY,
    "42501",  # the role may not
    "55P03",  # lock_timeout
}
RETRY_AFTER_LOSS = (0.02, 0.1)  # seconds, drawn at random: clients must not come back in step


class Unavailable(Exception):
    """The database could not answer; nothing is known about who asked."""


class ConnectionLost(Unavailable):
    """The connection broke, or what was prepared on it: on another one the same may succeed."""


class NotMigrated(Unavailable):
    """A table or a column is not there: `make migrate` has not been run."""


class NotPrimary(Unavailable):
    """This PostgreSQL is a standby: what it does not know yet may have been revoked."""

    def __str__(self) -> str:
        """For the log."""
        return "a standby"


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection that is dropped where asyncpg would send a cancel.

    It sends one when a task is cancelled that waits for a statement. A commit that waits for a
    synchronous standby and is cancelled would be visible here and absent there.
    """

    def _cancel_current_command(self, *waiters: object) -> None:
        del waiters  # terminate() answers them
        self._loop.call_soon(self.terminate)


class Database:
    """A pool of connections to one PostgreSQL, and how long a request may wait for it (seconds)."""

    def __init__(self, url: str, *, timeout: float, pool_size: int = 10, pooler: str = "") -> None:
        self.timeout = timeout
        self.on_change: Callable[[Collection[UUID]], None] | None = None
        self.engine = make_engine(
            url,
            timeout=timeout,
            pooler=pooler,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeout,
        )
        # A pooler may hand every statement of ours to another connection, and each is two: it is
        # prepared, then executed. A transaction keeps them together.
        self._reads = (
            self.engine
            if pooler == "transaction"
            else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )

    async def read(
        self, query: Callable[[AsyncConnection], Awaitable[T]], *, deadline: float | None = None
    ) -> T:
        """A query function's answer, each of its statements in autocommit.

        Once more, on a new connection, when the first was lost: reading twice does no harm, and
        when PostgreSQL restarts every connection in use is a lost one.
        """
        by = deadline or self._deadline()
        return await twice(lambda: self._read_once(query, by), by)

    async def look_up(self, query: Callable[[Direct], Awaitable[T]]) -> T:
        """As `read`, for what every request asks: by asyncpg itself."""
        by = self._deadline()
        return await twice(lambda: self._look_up_once(query, by), by)

    async def _look_up_once(self, query: Callable[[Direct], Awaitable[T]], deadline: float) -> T:
        async with self._driver(deadline) as driver:
            return await query(Direct(driver))

    @asynccontextmanager
    async def write_directly(self, *, deadline: float) -> AsyncIterator[Direct]:
        """As `begin`, for what many requests share: by asyncpg itself.

        Each statement commits, unless it stands in a block of `Direct.begin`.
        """
        async with self._driver(deadline) as driver:
            db = Direct(driver)
            with self._telling(db):
                yield db

    async def _read_once(
        self, query: Callable[[AsyncConnection], Awaitable[T]], deadline: float
    ) -> T:
        async with self._connection(self._reads, deadline) as db:
            return await query(db)

    @asynccontextmanager
    async def begin(self, *, deadline: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back when anything raises.

        Then on_change is told whose sessions it changed. After a failure too, for nobody knows
        whether a commit that got no answer was done; who is told looks at the rows.
        """
        deadline = deadline or self._deadline()
        async with self._connection(self.engine, deadline) as db:
            with self._telling(db):
                async with db.begin():
                    yield db

    async def close(self) -> None:
        """Closes the pool."""
        await self.engine.dispose()

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self.timeout

    @contextmanager
    def _telling(self, db: Statements) -> Iterator[None]:
        """Tells on_change, once the transaction in this block has ended."""
        changed = changes.collect(db)
        try:
            yield
        finally:
            if changed and self.on_change:
                self.on_change(changed)

    @asynccontextmanager
    async def _driver(self, deadline: float) -> AsyncIterator[Any]:
        """Asyncpg's side of a connection of the pool."""
        connection = await connect(self.engine.raw_connection, deadline)
        driver: Any = connection.driver_connection
        drop = asyncio.get_running_loop().call_at(deadline, driver.terminate)
        try:
            yield driver
        except NotPrimary:
            connection.invalidate()  # the next connection looks for the primary again
            raise
        except Exception as error:
            # Dropped between two steps of a statement, it answers with an AttributeError.
            lost = driver.is_closed() or isinstance(error, OutOfStep)
            if not (lost or isinstance(error, OF_THE_DATABASE)):
                raise
            if lost or sqlstate(error) == READ_ONLY:  # the others are no better
                self.engine.pool._invalidate(connection, error)  # noqa: SLF001 - as SQLAlchemy does
            raise unavailable(error, is_lost=lost) or error from error
        finally:
            drop.cancel()
            connection.close()

    @asynccontextmanager
    async def _connection(
        self, engine: AsyncEngine, deadline: float
    ) -> AsyncIterator[AsyncConnection]:
        db = await connect(engine.connect, deadline)
        try:
            async with dropped_at(deadline, db):
                yield db
        except NotPrimary:
            await db.invalidate()  # the next connection looks for the primary again
            raise
        except OutOfStep as error:
            await db.invalidate()
            raise ConnectionLost(describe(error)) from error
        except (OSError, SQLAlchemyError) as error:
            translated = unavailable(error, is_lost=is_lost(error))
            if translated is None:
                raise
            raise translated from error
        finally:
            await db.close()


async def twice(attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
    """What an attempt answers; the second one's answer when the first met a lost connection."""
    try:
        return await attempt()
    except ConnectionLost:
        pause = random.uniform(*RETRY_AFTER_LOSS)  # noqa: S311 - jitter
        if asyncio.get_running_loop().time() + pause >= deadline:
            raise
        await asyncio.sleep(pause)
    return await attempt()


async def connect(take: Callable[[], Awaitable[T]], deadline: float) -> T:
    """A connection from the pool, or a new one. Raises Unavailable, at the deadline at last."""
    try:
        async with asyncio.timeout_at(deadline):
            return await take()
    except Exception as error:  # whatever it is: there is no connection
        raise Unavailable(describe(error)) from error


@asynccontextmanager
async def dropped_at(deadline: float, db: AsyncConnection) -> AsyncIterator[None]:
    """Drops the connection at the deadline: no statement is cancelled, and none is waited for.

    Whoever waits for one is told that the connection is closed.
    """
    driver: Any = (await db.get_raw_connection()).driver_connection
    drop = asyncio.get_running_loop().call_at(deadline, driver.terminate)
    try:
        yield
    finally:
        drop.cancel()


def make_engine(url: str, *, timeout: float, pooler: str = "", **pool: Any) -> AsyncEngine:
    """An engine for a DATABASE_URL; timeout in seconds, the rest is SQLAlchemy's about the pool.

    Raises DatabaseUrlError. Behind PgBouncer in transaction mode nothing may be kept on a
    connection: no prepared statements of a fixed name, no settings of ours.
    """
    arguments = connect_arguments(url, timeout=timeout)
    if pooler == "transaction":
        arguments |= {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
        }
    else:
        milliseconds = round(timeout * 1000)
        arguments["server_settings"] |= {
            "statement_timeout": str(milliseconds),
            "lock_timeout": str(round(milliseconds * 0.8)),
            "idle_in_transaction_session_timeout": str(2 * milliseconds),
        }
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args=arguments | {"connection_class": Connection},
        # Whatever the database's default: a later statement is to see what committed before it.
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # values never reach a log or a traceback
        **pool,
    )
    event.listen(engine.sync_engine, "connect", remember_times)
    event.listen(engine.sync_engine, "checkout", refuse_closed)
    event.listen(engine.sync_engine, "handle_error", leave_read_only)
    event.listen(engine.sync_engine, "close", drop)
    return engine


def refuse_closed(connection: Any, *_: object) -> None:
    """Makes the pool connect anew where the server has closed a connection meanwhile.

    The event loop knows that without asking the server. So a write, which must not be tried
    twice, seldom meets a dead connection after a restart.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def leave_read_only(context: ExceptionContext) -> None:
    """Counts a server that became read-only as lost: the whole pool looks for the primary."""
    if sqlstate(context.original_exception) == READ_ONLY:
        context.is_disconnect = True


def drop(connection: Any, *_: object) -> None:
    """Closes at once: a server that does not answer would be waited for, at shutdown for ever."""
    connection.driver_connection.terminate()


def unavailable(error: Exception, *, is_lost: bool) -> Unavailable | None:
    """What an error says of the database or the way to it; None if it speaks of the statement."""
    state = sqlstate(error) or ""
    if is_lost or isinstance(error, OSError) or state in WORTH_A_SECOND_TRY:
        return ConnectionLost(describe(error))
    if state in UNDEFINED:
        return NotMigrated(describe(error))
    if state in UNAVAILABLE_STATES or state.startswith(UNAVAILABLE_CLASSES):
        return Unavailable(describe(error))
    return None


def is_lost(error: OSError | SQLAlchemyError) -> bool:
    """Whether an error means that this connection is no more."""
    return isinstance(error, DBAPIError) and bool(error.connection_invalidated)


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five-character code, when the error came from there."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None


def describe(error: BaseException) -> str:
    """The error's kind, without its text: that may hold an address, a name or a value."""
    cause = getattr(error, "orig", None) or error
    kind = type(cause.__cause__ or cause).__name__
    return " ".join(filter(None, (kind, sqlstate(error))))
