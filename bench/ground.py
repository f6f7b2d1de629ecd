"""What every bench stands on: a PostgreSQL of its own that is thrown away, and rows to work with.

BENCH_DATABASE_URL names another one, whose role may create databases.
"""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from db import embedded, migrations

Bench = Callable[[str], Coroutine[Any, Any, None]]


def run(bench: Bench) -> None:
    """Runs a bench on a migrated, empty database."""
    with server() as url:
        name = f"bigtwo_bench_{uuid4().hex[:8]}"
        own = url.replace("/bigtwo?", f"/{name}?") if "/bigtwo?" in url else f"{url}/{name}"
        asyncio.run(execute(url, f"CREATE DATABASE {name}"))
        try:
            migrations.upgrade(own)
            asyncio.run(bench(own))
        finally:
            asyncio.run(execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def server() -> Iterator[str]:
    """The URL of a PostgreSQL, without a database where it is not the embedded one."""
    given = os.environ.get("BENCH_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / ".state"
        own = embedded.join(state)
        try:
            yield own.url.replace("//bigtwo@", "//postgres@", 1)
        finally:
            own.leave()
            embedded.remove(state)


async def execute(url: str, *statements: str) -> None:
    """Runs statements, each in autocommit."""
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection for the block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def beside(url: str, name: str) -> AsyncIterator[str]:
    """The URL of a database for the block, on the same server as the one of that URL."""
    parts = urlsplit(url)
    database = f"{parts.path.lstrip('/')}_{name.replace('-', '_')}"
    await execute(url, f"CREATE DATABASE {database}")
    try:
        yield parts._replace(path=f"/{database}").geturl()
    finally:
        await execute(url, f"DROP DATABASE {database} WITH (FORCE)")


async def fill(url: str, users: int, *, sessions: int = 1, resolution: str = "60 s") -> None:
    """Users with so many live sessions each, as guests are who came back."""
    await execute(
        url,
        f"""INSERT INTO users (id, username, is_guest)
            SELECT gen_random_uuid(), 'guest-' || n, true FROM generate_series(1, {users}) n""",
        # One after the other for all users: nobody's sessions lie side by side, as in real life.
        *[
            f"""INSERT INTO user_sessions
               (user_id, id, label, created_at, expires_at, idle_timeout, activity_resolution,
                ip_address, user_agent, client_name, client_os, device_type)
           SELECT id, gen_random_uuid(), 'amber-otter', now() - interval '1 d',
                  now() + interval '30 d', interval '336 h', interval '{resolution}',
                  '198.51.100.7',
                  'Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0',
                  'Firefox', 'Linux', 'desktop' FROM users"""
        ]
        * sessions,
        "VACUUM (ANALYZE) users, user_sessions",
    )


def show(title: str, values: Sequence[float], unit: str) -> None:
    """A figure: the median, and between which two it lies."""
    median = statistics.median(values)
    print(f"{title:<58} {median:9.2f} {unit}   ({min(values):.2f} to {max(values):.2f})")
