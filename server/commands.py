"""What commands share, and the commands that keep the database in order."""

import asyncio
import json as json_text
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from rich.console import Console
from rich.status import Status
from rich.table import Table

from background.cleanup import Cleanup
from db import purge
from db.bus import Bus
from db.engine import Database
from server import database
from settings import Settings

TIMEOUT = 600.0  # seconds for one batch or one count: nobody waits for them
WIDTH = 200  # columns of a table that no terminal bounds
NARROWEST = 120  # columns below which a table is wrapped by the terminal: an id must stay whole

T = TypeVar("T")


class NothingFound(Exception):
    """Nobody or nothing has the name that was typed; the message says what was looked for."""


class RefusedError(Exception):
    """What was asked for is not done; the message says why and what to do."""


def work(settings: Settings, do: Callable[[Database], Awaitable[T]]) -> T:
    """What a piece of work on the database answers. Raises Unavailable."""

    async def run(url: str) -> T:
        pool = Database(url, timeout=TIMEOUT, pool_size=2, pooler=settings.DATABASE_POOLER)
        bus = Bus(database.bus_url(settings, url), lambda _: None)
        pool.on_change = bus.tell
        try:
            return await do(pool)
        finally:
            await bus.close()
            await pool.close()

    with database.for_command(settings) as url:
        return asyncio.run(run(url))


def migrate(settings: Settings) -> None:
    """Brings the database to this code's revision; the embedded one is at it once it runs."""
    with database.for_command(settings) as url:
        if settings.DATABASE_URL is not None:
            database.migrate(url)
    say("The database suits this release.")


def cleanup(settings: Settings, *, apply: bool, json: bool) -> None:
    """Shows what a cleanup would purge, or purges it."""

    async def do(pool: Database) -> tuple[int, int]:
        if not apply:
            retention = timedelta(seconds=settings.SESSION_RETENTION)
            return await pool.read(lambda db: purge.count(db, retention=retention))
        done = make_cleanup(settings, pool)
        with Console(stderr=True).status("Purging …") as status:
            telling = asyncio.create_task(tell(done, status))
            await done.run(budget=None)
            telling.cancel()
        return done.sessions_purged, done.guests_deleted

    sessions, guests = work(settings, do)
    if json:
        show_json({"applied": apply, "sessions": sessions, "guests": guests})
    elif apply:
        say(f"Purged {sessions} sessions and {guests} guests.")
    else:
        say(
            f"Would purge {sessions} sessions and {guests} guests."
            " Nothing was changed; --apply does it."
        )


async def tell(cleanup: Cleanup, status: Status) -> None:
    """Shows for ever how far a cleanup has come."""
    while True:
        status.update(
            f"Purged {cleanup.sessions_purged:,} sessions and {cleanup.guests_deleted:,} guests …"
        )
        await asyncio.sleep(0.5)


def make_cleanup(settings: Settings, pool: Database) -> Cleanup:
    """What cleans up as the settings say."""
    addresses = settings.SESSION_ADDRESS_RETENTION
    return Cleanup(
        pool,
        timedelta(seconds=settings.SESSION_RETENTION),
        timedelta(seconds=addresses) if addresses else None,
        timedelta(seconds=settings.SESSION_EVENT_RETENTION),
    )


# How an answer looks


def say(text: str) -> None:
    """A sentence for who typed the command."""
    print(text)  # noqa: T201 - said above


def show_json(value: object) -> None:
    """An answer for scripts."""
    say(json_text.dumps(value, default=plain, indent=2, ensure_ascii=False))


def show_table(rows: Sequence[Mapping[str, object]], *, title: str | None = None) -> None:
    """Rows of the same names, for people."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=name == "id")
    for row in rows:
        table.add_row(*(shown(value) for value in row.values()))
    console = Console(markup=False, highlight=False, emoji=False)
    console.width = max(console.width, NARROWEST) if sys.stdout.isatty() else WIDTH
    console.print(table if rows else f"{title}: none" if title else "None.")


def shown(value: object) -> str:
    """A value in a table."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def plain(value: object) -> str:
    """A value that JSON has no form for."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def as_uuid(text: str) -> UUID | None:
    """An id that was typed; None for what is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
