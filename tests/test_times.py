"""Times as PostgreSQL has them, through the codec that remembers what it read."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.times import EARLIEST, EPOCH, LATEST, MICROSECOND


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2000-01-01 00:00:00+00", EPOCH),
        ("1999-12-31 23:59:59.999999+00", EPOCH - MICROSECOND),
        ("2026-11-25 13:00:00.123456+02", datetime(2026, 11, 25, 11, 0, 0, 123456, UTC)),
        ("0001-01-01 00:00:00+00", EARLIEST),
        ("9999-12-31 23:59:59.999999+00", LATEST),
        ("infinity", LATEST),
        ("-infinity", EARLIEST),
        (None, None),
    ],
)
async def test_a_time_is_read_as_it_stands(
    database_url: str, written: str | None, read: datetime | None
) -> None:
    for _ in range(2):  # the second one is remembered
        assert await select(database_url, "CAST(CAST(:it AS text) AS timestamptz)", written) == read


async def test_a_time_is_written_as_it_was_meant(database_url: str) -> None:
    for time in (
        EPOCH - 3 * MICROSECOND,
        datetime(2026, 11, 25, 13, 0, 0, 654321, timezone(timedelta(hours=5, minutes=30))),
        EARLIEST,
        LATEST,
    ):
        assert await select(database_url, "CAST(:it AS timestamptz)", time) == time
        many = await select(database_url, "CAST(:it AS timestamptz[])", [time, None])
        assert many == [time, None]


async def test_a_time_without_a_zone_is_refused(database_url: str) -> None:
    naive = datetime(2026, 11, 25)  # noqa: DTZ001 - the point
    with pytest.raises(DBAPIError):
        await select(database_url, "CAST(:it AS timestamptz)", naive)


async def select(url: str, expression: str, it: object) -> Any:
    """What PostgreSQL makes of a value."""
    database = Database(url, timeout=30, pool_size=1)
    try:
        return await database.read(lambda db: db.scalar(text(f"SELECT {expression}"), {"it": it}))
    finally:
        await database.close()
