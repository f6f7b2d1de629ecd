"""The way to the database: reads in autocommit, writes in transactions, both with a deadline.

Whatever keeps the database from answering becomes one exception, Unavailable, so that nobody
mistakes a sick server for a refused client.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db.url import connect_arguments

T = TypeVar("T")

# What PostgreSQL answers when the trouble is its own or its operator's, not the statement's.
# Classes: 08 connection, 28 authorization, 3D no such database, 53 resources (disk full),
# 57 operator intervention (shutdown, statement_timeout), 58 system, XX internal.
UNAVAILABLE_CLASSES = ("08", "28", "3D", "53", "57", "58", "XX")
READ_ONLY = "25006"  # no longer the primary
UNAVAILABLE_STATES = frozenset(
    {
        "0A000",  # a prepared plan outlived a migration
        READ_ONLY,
        "40001",  # serialisation failure
        "40P01",  # deadlock
        "42501",  # the role may not
        "42703",  # no such column: not migrated
        "42P01",  # no such table: not migrated
        "55P03",  # lock_timeout
    }
)
RETRY_AFTER_LOSS = (0.02, 0.1)  # seconds, drawn at random: clients must not come back in step


class Unavailable(Exception):
    """The database could not answer; nothing is known about who asked."""


class NotPrimary(Unavailable):
    """This PostgreSQL is a standby: what it does not know yet may have been revoked."""


class Database:
    """A pool of connections to one PostgreSQL, and how long a request may wait for it (seconds)."""

    def __init__(self, url: str, *, timeout: float, pool_size: int = 10, pooler: str = "") -> None:
        self.timeout = timeout
        self.engine = make_engine(
            url,
            timeout=timeout,
            pooler=pooler,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeout,
        )
        self._reads = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def read(
        self, query: Callable[[AsyncConnection], Awaitable[T]], *, deadline: float | None = None
    ) -> T:
        """A query function's answer, each of its statements in autocommit.

        Once more, on a new connection, when the first was lost: reading twice does no harm, and
        after a restart of PostgreSQL every pooled connection is a lost one.
        """
        deadline = deadline or self._deadline()
        try:
            async with self._connection(self._reads, deadline) as db:
                return await query(db)
        except Unavailable:
            pause = random.uniform(*RETRY_AFTER_LOSS)  # noqa: S311 - jitter
            if asyncio.get_running_loop().time() + pause >= deadline:
                raise
            await asyncio.sleep(pause)
        async with self._connection(self._reads, deadline) as db:
            return await query(db)

    @asynccontextmanager
    async def begin(self, *, deadline: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back when anything raises."""
        deadline = deadline or self._deadline()
        async with self._connection(self.engine, deadline) as db, db.begin():
            yield db

    async def close(self) -> None:
        """Closes the pool."""
        await self.engine.dispose()

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self.timeout

    @asynccontextmanager
    async def _connection(
        self, engine: AsyncEngine, deadline: float
    ) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout_at(deadline):
                db = await engine.connect()
        except Exception as error:  # whatever it is: there is no connection
            raise Unavailable(describe(error)) from error
        try:
            terminate = (await db.get_raw_connection()).driver_connection.terminate  # type: ignore[union-attr]
            # Past the deadline the connection is dropped, without the cancel that asyncpg sends
            # when a task is cancelled: a commit that waits for a synchronous standby and is
            # cancelled would be visible here and absent there.
            cut = asyncio.get_running_loop().call_at(deadline, terminate)
            try:
                yield db
            finally:
                cut.cancel()
        except NotPrimary:
            await db.invalidate()  # the next connection looks for the primary again
            raise
        except (OSError, SQLAlchemyError) as error:
            if sqlstate(error) == READ_ONLY:
                await db.invalidate()
            if is_unavailable(error):
                raise Unavailable(describe(error)) from error
            raise
        finally:
            await db.close()


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
    return create_async_engine(
        "postgresql+asyncpg://",
        connect_args=arguments,
        hide_parameters=True,  # values never reach a log or a traceback
        **pool,
    )


def is_unavailable(error: Exception) -> bool:
    """Whether an error speaks of the database or the way to it, not of the statement."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError | PoolTimeoutError)
    state = sqlstate(error)
    return (
        error.connection_invalidated
        or state is None  # asyncpg's own: the connection broke or could not be made
        or state.startswith(UNAVAILABLE_CLASSES)
        or state in UNAVAILABLE_STATES
    )


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five-character code, when the error came from there."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None


def describe(error: BaseException) -> str:
    """The error's kind, without its text: that may hold an address, a name or a value."""
    cause = getattr(error, "orig", None) or error
    kind = type(cause.__cause__ or cause).__name__
    return " ".join(filter(None, (kind, sqlstate(error))))
