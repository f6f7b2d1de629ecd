"""lastActiveAt and the last address: true to the resolution, at almost no cost, in nobody's way."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app import create_app
from db.activity import BATCH, Activity, Use
from db.engine import Database, Unavailable
from db.sessions import Key

QUIET = timedelta(minutes=2)  # longer than the resolution


async def quieten(db: Any) -> None:
    """Makes all sessions look as if they had been used, but not lately."""
    await db.execute(
        "UPDATE user_sessions SET last_active_at = now() - $1::interval,"
        " idle_timeout = '14 d', idle_timeout_once_used = NULL",
        QUIET,
    )


async def last_use(db: Any, guest: Any) -> Any:
    return await db.fetchrow(
        "SELECT last_active_at, ip_address, now() - last_active_at AS ago FROM user_sessions"
        " WHERE id = $1",
        UUID(guest.session_id),
    )


async def use(client: Any, guest: Any) -> None:
    assert (await client.gql("{ viewer { id } }", token=guest.token)).status_code == 200


async def test_a_use_is_written_down_within_seconds(start_app: Any, db: Any) -> None:
    client = await start_app()
    guest = await client.guest()
    await quieten(db)
    await use(client, guest)
    while (await last_use(db, guest))["ago"] >= QUIET:  # noqa: ASYNC110 - a table tells no event
        await asyncio.sleep(0.05)


async def test_a_request_writes_nothing_itself(client: Any, db: Any, statements: list[str]) -> None:
    guest = await client.guest()
    await quieten(db)
    del statements[:]
    for _ in range(5):
        await use(client, guest)
    assert len(client.services.activity) == 1
    assert [s for s in statements if not s.startswith("SELECT")] == []


async def test_within_the_resolution_nothing_is_noted(client: Any, db: Any) -> None:
    guest = await client.guest()
    await use(client, guest)
    await client.flush()
    before = await last_use(db, guest)
    await use(client, guest)
    assert len(client.services.activity) == 0
    await client.flush()
    assert (await last_use(db, guest))["last_active_at"] == before["last_active_at"]


async def test_what_is_shown_is_true_to_the_resolution(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_ACTIVITY_RESOLUTION=1)
    guest = await client.guest()
    before = await last_use(db, guest)
    await use(client, guest)
    await client.flush()
    assert (await last_use(db, guest))["last_active_at"] > before["last_active_at"]


async def test_a_flush_is_one_statement_for_many_sessions(
    client: Any, db: Any, statements: list[str]
) -> None:
    guests = [await client.guest() for _ in range(12)]
    await quieten(db)
    await asyncio.gather(*(use(client, guest) for guest in guests))
    del statements[:]
    await client.flush()
    assert len(statements) == 1
    for guest in guests:
        assert (await last_use(db, guest))["ago"] < QUIET


@pytest.mark.parametrize(
    "end",
    [
        "revoked_at = now(), revoked_reason = 'SIGNED_OUT'",
        "created_at = now() - interval '40 d', expires_at = now() - interval '1 s'",
        "last_active_at = now() - interval '40 d'",
    ],
    ids=["revoked", "expired", "idle"],
)
async def test_a_flush_revives_nothing(client: Any, db: Any, end: str) -> None:
    guest = await client.guest()
    await quieten(db)
    await use(client, guest)
    await db.execute(f"UPDATE user_sessions SET {end}")
    before = await db.fetchrow("SELECT * FROM user_sessions")
    await client.flush()
    assert await db.fetchrow("SELECT * FROM user_sessions") == before
    assert len(client.services.activity) == 0


async def test_a_flush_waits_for_nobodys_lock_and_keeps_what_it_could_not_write(
    client: Any, db: Any
) -> None:
    locked, free = await client.guest(), await client.guest()
    await quieten(db)
    await use(client, locked)
    await use(client, free)
    async with db.transaction():
        await db.execute(
            "SELECT FROM user_sessions WHERE id = $1 FOR UPDATE", UUID(locked.session_id)
        )
        await client.flush()
        assert (await last_use(db, free))["ago"] < QUIET
        assert (await last_use(db, locked))["ago"] >= QUIET
        assert len(client.services.activity) == 1
    await client.flush()
    assert (await last_use(db, locked))["ago"] < QUIET
    assert len(client.services.activity) == 0


async def test_what_the_database_could_not_take_is_kept(
    client: Any, db: Any, database_url: str
) -> None:
    guest = await client.guest()
    await quieten(db)
    await use(client, guest)
    away = Database(database_url.replace("/bigtwo_test_", "/nowhere_"), timeout=2)
    with pytest.raises(Unavailable):
        await client.services.activity.flush(away)
    await away.close()
    assert len(client.services.activity) == 1
    await client.flush()
    assert (await last_use(db, guest))["ago"] < QUIET


async def test_a_newer_note_is_not_undone_by_an_older_one_that_came_back(
    client: Any, db: Any
) -> None:
    guest = await client.guest()
    key = Key(UUID(guest.user_id), UUID(guest.session_id))
    now = (await db.fetchval("SELECT extract(epoch FROM now())::float8")) + 3600
    await quieten(db)
    for at, address in ((now - 3690, "198.51.100.1"), (now - 3660, "198.51.100.2")):
        client.services.activity.note(key, Use(at, address))
    await client.flush()
    row = await last_use(db, guest)
    assert str(row["ip_address"]) == "198.51.100.2"
    client.services.activity.note(key, Use(now - 9999, "198.51.100.2"))
    client.services.activity.note(key, Use(now, "198.51.100.2"))  # a clock that is ahead
    await client.flush()
    assert timedelta(0) <= (await last_use(db, guest))["ago"] < QUIET


async def test_an_older_use_undoes_neither_the_time_nor_the_address_of_a_newer_one(
    client: Any, db: Any
) -> None:
    """Of two processes the one whose note had to wait writes last."""
    guest = await client.guest()
    await quieten(db)
    key = Key(UUID(guest.user_id), UUID(guest.session_id))
    now = await db.fetchval("SELECT extract(epoch FROM now())::float8")
    for at, address in ((now - 5, "203.0.113.9"), (now - 90, "198.51.100.1")):
        client.services.activity.note(key, Use(at, address))
        await client.flush()
    row = await last_use(db, guest)
    assert str(row["ip_address"]) == "203.0.113.9"
    assert row["ago"] < timedelta(seconds=60)


async def test_an_address_with_a_scope_stops_nothing(start_app: Any, db: Any) -> None:
    client = await start_app(TRUSTED_PROXIES=("127.0.0.1",))
    guest, other = await client.guest(), await client.guest()
    await quieten(db)
    scoped = {"X-Forwarded-For": "fe80::1%eth0"}
    assert (await client.gql("{ viewer { id } }", token=guest.token, headers=scoped)).is_success
    assert (await client.http.post("/session", headers=scoped)).status_code == 201
    await use(client, other)
    await client.flush()
    assert (await last_use(db, other))["ago"] < QUIET
    assert str((await last_use(db, guest))["ip_address"]) == "fe80::1"


async def test_a_bug_in_a_flush_does_not_end_the_notes(start_app: Any, db: Any) -> None:
    client = await start_app()
    guest = await client.guest()
    await quieten(db)
    broken = Key(UUID(guest.user_id), UUID(guest.session_id))
    client.services.activity.note(broken, Use(float("nan"), None))
    await asyncio.sleep(1.5)
    client.services.activity.note(broken, Use(1.0, None))
    await use(client, guest)
    while (await last_use(db, guest))["ago"] >= QUIET:  # noqa: ASYNC110 - a table tells no event
        await asyncio.sleep(0.05)


async def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    activity = Activity(capacity=3)
    keys = [Key(uuid4(), uuid4()) for _ in range(5)]
    for key in keys:
        activity.note(key, Use(1.0, None))
    activity.note(keys[0], Use(2.0, None))
    assert (len(activity), activity.dropped) == (3, 2)


async def test_it_is_written_down_at_shutdown(client: Any, make_settings: Any, db: Any) -> None:
    application = create_app(make_settings())
    async with application.router.lifespan_context(application):
        other = type(client)(application)
        guest = await other.guest()
        await quieten(db)
        await use(other, guest)
        await other.http.aclose()
    assert (await last_use(db, guest))["ago"] < QUIET


async def test_many_batches_are_all_written(client: Any, db: Any) -> None:
    count = 2 * BATCH + 7
    await many(db, count)
    await note_all(client.services.activity, db)
    await client.flush()
    assert len(client.services.activity) == 0
    left = "SELECT count(*) FROM user_sessions WHERE now() - last_active_at >= $1::interval"
    assert await db.fetchval(left, QUIET) == 0


async def many(db: Any, count: int) -> None:
    """Users with one quiet session each."""
    await db.execute(
        f"""WITH u AS (INSERT INTO users (id, username, is_guest)
                SELECT gen_random_uuid(), 'guest-' || n, true FROM generate_series(1, {count}) n
                RETURNING id)
            INSERT INTO user_sessions
                (user_id, id, label, expires_at, activity_resolution, last_active_at, ip_address)
            SELECT id, gen_random_uuid(), 'many', now() + interval '1 d', interval '60 s',
                   now() - interval '2 min', '198.51.100.1' FROM u"""
    )


async def note_all(activity: Activity, db: Any) -> None:
    now = await db.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    for row in await db.fetch("SELECT user_id, id FROM user_sessions"):
        activity.note(Key(*row), Use(now, "198.51.100.7"))


async def test_several_flushing_processes_and_revokes_beside_them_never_deadlock(
    client: Any, db: Any, database_url: str
) -> None:
    """Four of them with the same sessions, while each session is ended by somebody."""
    await many(db, BATCH)
    databases = [Database(database_url, timeout=20, pool_size=1) for _ in range(4)]
    before = await deadlocks(db)

    async def flush(database: Database) -> None:
        activity = Activity()
        for _ in range(5):
            await note_all(activity, db_of[database])
            await activity.flush(database)

    async def revoke() -> None:
        connection = await asyncpg.connect(database_url)
        for row in await connection.fetch("SELECT id FROM user_sessions ORDER BY random()"):
            await connection.execute(
                "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'SIGNED_OUT'"
                " WHERE id = $1",
                row["id"],
            )
        await connection.close()

    db_of = {database: await asyncpg.connect(database_url) for database in databases}
    await asyncio.gather(*map(flush, databases), revoke())
    for database, connection in db_of.items():
        await connection.close()
        await database.close()
    assert await db.fetchval("SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL") == 0
    assert await deadlocks(db) == before
    del client


async def deadlocks(db: Any) -> int:
    await db.execute("SELECT pg_stat_clear_snapshot()")
    found = await db.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(found)


# An idle connection tells within ten seconds what it has done, one that ends tells at once.
REPORTED = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'bigtwo-sessions'"""


async def test_the_updates_stay_hot(client: Any, db: Any) -> None:
    """As PostgreSQL's own statistics tell: no index is written, however often sessions are used."""
    await many(db, 2000)
    rows = await db.fetch("SELECT user_id, id FROM user_sessions ORDER BY random()")
    now = await db.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    for turn in range(20):  # each time another twentieth of them
        for row in rows[turn::20]:
            client.services.activity.note(Key(*row), Use(now, "198.51.100.7"))
        await client.flush()
    await db.execute(REPORTED)
    while (await updates(db))[0] < len(rows):  # noqa: ASYNC110 - it is told with a delay
        await asyncio.sleep(0.1)
    all_updates, hot = await updates(db)
    assert all_updates == len(rows)
    assert hot / all_updates > 0.95


async def updates(db: Any) -> tuple[int, int]:
    """Updates of sessions that the statistics know of, and how many of them were HOT."""
    row = await db.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'user_sessions'"
    )
    return row["n_tup_upd"], row["n_tup_hot_upd"]
