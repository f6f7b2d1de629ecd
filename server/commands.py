"""The commands beside serving; each says what it did, in words for who typed it."""

import asyncio
import sys
from datetime import timedelta

from background.cleanup import Cleanup
from db import purge
from db.engine import Database, Unavailable
from server import database
from settings import Settings

TIMEOUT = 60.0  # seconds for one batch or one count: nobody waits for them


def migrate(settings: Settings) -> None:
    """Brings the database to this code's revision; the embedded one is at it once it runs."""
    with database.for_command(settings) as url:
        if settings.DATABASE_URL is not None:
            database.migrate(url)
    print("The database suits this release.")  # noqa: T201


def cleanup(settings: Settings, *, apply: bool) -> None:
    """Shows what a cleanup would purge, or purges it."""
    with database.for_command(settings) as url:
        try:
            print(asyncio.run(clean(url, settings, apply=apply)))  # noqa: T201
        except Unavailable as error:
            sys.exit(f"The database cannot answer: {error}. Is it migrated (`make migrate`)?")


async def clean(url: str, settings: Settings, *, apply: bool) -> str:
    """Cleans up, or counts; the sentence to show."""
    pool = Database(url, timeout=TIMEOUT, pool_size=1, pooler=settings.DATABASE_POOLER)
    retention = timedelta(seconds=settings.SESSION_RETENTION)
    try:
        if not apply:
            sessions, guests = await pool.read(lambda db: purge.count(db, retention=retention))
            return (
                f"Would purge {sessions} sessions and {guests} guests."
                " Nothing was changed; --apply does it."
            )
        kept = timedelta(seconds=settings.SESSION_ADDRESS_RETENTION)
        done = Cleanup(pool, retention, kept or None)
        await done.run(budget=None)
        return f"Purged {done.sessions_purged} sessions and {done.guests_deleted} guests."
    finally:
        await pool.close()
