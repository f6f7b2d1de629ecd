"""What it is like with very many sessions: checks, lists, bulk revocation, purge, disk space.

ROWS sets how many sessions there are (10,000,000 unless it says otherwise; about 7 GB, and some
minutes to make). A tenth of them have expired longer ago than the retention.
"""

import asyncio
import os
import random
import statistics
import time
from collections.abc import Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import growth_checks
from ground import connected, execute, run, show

from background import cleanup
from background.cleanup import Cleanup
from db import administration, session_search, sessions
from db.engine import Database
from db.events import Actor, By
from db.session_search import Filter

ROWS = int(os.environ.get("ROWS", "10000000"))
PER_USER = 5
BULK = 100_000
RETENTION = timedelta(days=30)
AT_ONCE = 8  # clients of the live traffic
BATCH = 500_000  # rows of one statement while they are made

# Ids in the order of time, as UUIDv7 has them: milliseconds, then what is random.
ID = """CAST(lpad(to_hex(CAST(extract(epoch FROM {}) * 1000 AS bigint)), 12, '0')
             || '7' || substr(md5(random()::text), 1, 3)
             || '8' || substr(md5(random()::text), 1, 15) AS uuid)"""


async def fill(url: str, sessions: int = ROWS) -> None:
    """Users with five sessions each, made over the last hundred days."""
    users = sessions // PER_USER
    moment = "now() - interval '100 d' * (1 - n::float8 / {})"
    for first in range(1, users + 1, BATCH):
        last = min(users, first + BATCH - 1)
        made = moment.format(users)
        await execute(
            url,
            f"""INSERT INTO users (id, username, is_guest, created_at)
                SELECT {ID.format(made)}, 'guest-' || n, true, {made}
                FROM generate_series({first}, {last}) n""",
        )
    for part in range(PER_USER):
        await execute(
            url,
            f"""INSERT INTO user_sessions
                    (user_id, id, label, created_at, authenticated_at, last_active_at, expires_at,
                     idle_timeout, activity_resolution, user_agent, client_name, client_os,
                     device_type, ip_address)
                SELECT u.id, {ID.format("m.at")}, 'amber-otter', m.at, m.at, now(),
                       CASE WHEN u.created_at < now() - interval '90 d'
                            THEN greatest(m.at + interval '1 d', now() - interval '60 d')
                            ELSE now() + interval '30 d' END,
                       interval '336 h', interval '60 s',
                       'Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0',
                       'Firefox', 'Linux', 'desktop', '198.51.100.7'
                FROM users u, LATERAL (
                    SELECT least(now(), u.created_at + interval '{part} h') AS at) m""",
        )
    await execute(url, "VACUUM (ANALYZE) users", "VACUUM (ANALYZE) user_sessions", "CHECKPOINT")


async def traffic(
    database: Database, keys: list[tuple[UUID, UUID]], stop: asyncio.Event
) -> list[float]:
    """Milliseconds of each of the door's looks at a random session, by so many clients."""
    took: list[float] = []

    async def client() -> None:
        while not stop.is_set():
            look = partial(
                sessions.find, user_id=(key := random.choice(keys))[0], session_id=key[1]
            )
            began = time.perf_counter()
            await database.read(look)
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return took


async def measured(
    database: Database, keys: list[tuple[UUID, UUID]], work: Awaitable[Any]
) -> tuple[float, list[float]]:
    """The seconds that some work takes, and the traffic's milliseconds meanwhile."""
    stop = asyncio.Event()
    running = asyncio.create_task(traffic(database, keys, stop))
    began = time.perf_counter()
    await work
    took = time.perf_counter() - began
    stop.set()
    return took, await running


def percentiles(title: str, took: list[float]) -> None:
    """The traffic's median and 99th percentile."""
    cut = statistics.quantiles(took, n=100)
    print(f"{title:<58} p50 {cut[49]:7.2f} ms   p99 {cut[98]:7.2f} ms   of {len(took)}")


async def bench(url: str) -> None:
    """Measures and prints."""
    began = time.perf_counter()
    await fill(url)
    print(f"{ROWS:,} sessions made in {time.perf_counter() - began:.0f} s")
    await growth_checks.compare(url, ROWS, fill)
    database, live = (Database(url, timeout=600, pool_size=AT_ONCE) for _ in range(2))
    async with connected(url) as db:
        await space(db)
        keys = [
            (row["user_id"], row["id"])
            for row in await db.fetch(
                "SELECT user_id, id FROM user_sessions TABLESAMPLE SYSTEM (1) WHERE"
                " expires_at > now() LIMIT 100000"
            )
        ]
        await measured(live, keys, asyncio.sleep(20))  # warms up
        _, quiet = await measured(live, keys, asyncio.sleep(20))
        percentiles("the door, nothing beside", quiet)
        await pages(database)
        await bulk(database, live, keys, db)
        await purge(database, live, keys, db)
    await database.close()
    await live.close()


async def space(db: Any) -> None:
    """Bytes of a session on the disk."""
    for what, function in (("table", "pg_table_size"), ("indexes", "pg_indexes_size")):
        size = await db.fetchval(f"SELECT {function}('user_sessions')")
        print(f"{f'a session on the disk, {what}':<58} {size / ROWS:9.0f} bytes")
    for row in await db.fetch(
        "SELECT indexrelid::regclass AS name, pg_relation_size(indexrelid) AS size"
        " FROM pg_index WHERE indrelid = 'user_sessions'::regclass ORDER BY 1"
    ):
        print(f"{f'  {row[0]}':<58} {row['size'] / ROWS:9.1f} bytes")


async def pages(database: Database) -> None:
    """The administrators' list: the first page, and the thousandth, reached by its cursors."""
    first, last = [], []
    for _ in range(5):
        after, took = None, []
        for _number in range(1000):
            began = time.perf_counter()
            async with database.begin() as db:
                page = await session_search.page(db, Filter(), after=after, limit=51)
            took.append((time.perf_counter() - began) * 1000)
            after = page[49].session.id
        first.append(took[0])
        last.append(took[-1])
    show("the administrators' page 1", first, "ms")
    show("the administrators' page 1,000", last, "ms")


async def bulk(database: Database, live: Database, keys: list[tuple[UUID, UUID]], db: Any) -> None:
    """Ending a hundred thousand of all users, those made last."""
    edge = await db.fetchval(
        "SELECT created_at FROM user_sessions ORDER BY id DESC OFFSET $1 LIMIT 1", BULK
    )

    @asynccontextmanager
    async def begin() -> Any:
        async with database.begin() as connection:
            yield connection

    ended = 0

    async def work() -> None:
        nonlocal ended
        chosen = Filter(created_after=edge)
        async for batch in administration.revoke_where(
            begin, chosen, By(Actor.OPERATOR), spare=None, patience=session_search.ENDLESS
        ):
            ended += len(batch)
            if ended >= BULK:
                break

    took, beside = await measured(live, keys, work())
    print(f"{f'{ended:,} sessions revoked':<58} {took:9.1f} s   {ended / took:,.0f} a second")
    percentiles("the door beside it", beside)


async def purge(database: Database, live: Database, keys: list[tuple[UUID, UUID]], db: Any) -> None:
    """A tenth of the sessions ended longer ago than the retention."""
    due = await db.fetchval(
        "SELECT count(*) FROM user_sessions WHERE expires_at < now() - $1::interval", RETENTION
    )
    cleaner = Cleanup(database, RETENTION, RETENTION, RETENTION * 3)

    async def work() -> None:
        for step in (cleaner.note_batch, cleaner.purge_batch):
            while await step():  # noqa: ASYNC110 - not waiting: working
                await asyncio.sleep(cleanup.PAUSE)

    took, beside = await measured(live, keys, work())
    gone = cleaner.sessions_purged
    title = f"{gone:,} of {due:,} expired sessions purged"
    print(f"{title:<58} {took:9.1f} s   {gone / took:,.0f} a second")
    percentiles("the door beside it", beside)


if __name__ == "__main__":
    run(bench)
