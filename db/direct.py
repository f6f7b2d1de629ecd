"""Statements by asyncpg itself, on a connection of SQLAlchemy's pool.

Through SQLAlchemy a statement costs 390 to 730 µs, without it 135 to 230. What every request asks,
and what many requests share, goes this way; for functions with statements both look the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from db.statements import MOST

NOTHING: Mapping[str, Any] = {}


class Statements(Protocol):
    """Sends statements; SQLAlchemy's AsyncConnection is one, whose results can do more."""

    @property
    def info(self) -> dict[Any, Any]:
        """What is noted along with the transaction."""
        ...

    async def execute(
        self, statement: TextClause, values: Mapping[str, Any] = NOTHING, /
    ) -> Iterable[Any]:
        """The rows, each a sequence of its columns."""
        ...


class Direct:
    """Sends statements on a connection of asyncpg's; each commits, unless `begin` was called."""

    def __init__(self, driver: Any) -> None:
        self._fetch = driver.fetch
        self.begin: Callable[[], AbstractAsyncContextManager[Any]] = driver.transaction
        self.info: dict[Any, Any] = {}

    async def execute(
        self, statement: TextClause, values: Mapping[str, Any] = NOTHING, /
    ) -> Sequence[Any]:
        """The rows."""
        sent, names = numbered(statement)
        rows: Sequence[Any] = await self._fetch(sent, *[values[name] for name in names])
        return rows


@lru_cache(maxsize=MOST)
def numbered(statement: TextClause) -> tuple[str, Sequence[str]]:
    """A statement as asyncpg wants it, with $1 and so on; and which values these are."""
    compiled = statement.compile(dialect=PGDialect_asyncpg())  # type: ignore[no-untyped-call]
    return str(compiled), tuple(compiled.positiontup or ())
