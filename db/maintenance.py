"""Statements about the database itself: its clock, its role, its revision."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import sqlstate

UNDEFINED_TABLE = "42P01"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a database says of itself."""

    now: datetime
    is_standby: bool


async def condition(db: AsyncConnection) -> Condition:
    """The database's clock, and whether it is a standby."""
    row = (await db.execute(text("SELECT clock_timestamp(), pg_is_in_recovery()"))).one()
    return Condition(*row)


async def revision(db: AsyncConnection) -> str | None:
    """The Alembic revision that the database is at; None when it was never migrated."""
    try:
        found = await db.execute(text("SELECT version_num FROM alembic_version"))
    except DBAPIError as error:
        if sqlstate(error) == UNDEFINED_TABLE:
            return None
        raise
    return found.scalar_one_or_none()
