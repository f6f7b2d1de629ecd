"""Statements about the database itself: its clock, its role, its revision."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import sqlstate
from db.statements import text

UNDEFINED_TABLE = "42P01"
ENCODING = "UTF8"  # another holds less than a client may send, or does not know what it holds
HOW_TO_CREATE = "createdb --encoding=UTF8 --template=template0 bigtwo"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a database says of itself."""

    now: datetime
    is_standby: bool
    encoding: str


async def condition(db: AsyncConnection) -> Condition:
    """The database's clock, whether it is a standby, and how it writes text."""
    found = await db.execute(
        text("SELECT clock_timestamp(), pg_is_in_recovery(), current_setting('server_encoding')")
    )
    return Condition(*found.one())


async def revision(db: AsyncConnection) -> str | None:
    """The Alembic revision that the database is at; None when it was never migrated."""
    try:
        found = await db.execute(text("SELECT version_num FROM alembic_version"))
    except DBAPIError as error:
        if sqlstate(error) == UNDEFINED_TABLE:
            return None
        raise
    return found.scalar_one_or_none()
