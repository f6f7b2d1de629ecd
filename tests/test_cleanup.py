"""Cleaning up: what ended long ago goes, what lives or may come back stays."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from background.cleanup import Cleanup
from db.engine import Database
from settings import ROOT

RETENTION = timedelta(days=30)
LONG_AGO = {
    "revoked": "revoked_at = now() - interval '31 d', revoked_reason = 'SIGNED_OUT'",
    "expired": "created_at = now() - interval '70 d', expires_at = now() - interval '31 d'",
}
LATELY = {
    "revoked": "revoked_at = now() - interval '29 d', revoked_reason = 'SIGNED_OUT'",
    "expired": "created_at = now() - interval '70 d', expires_at = now() - interval '29 d'",
}
COUNTS = """SELECT (SELECT count(*) FROM user_sessions), (SELECT count(*) FROM users),
                   (SELECT count(*) FROM usernames)"""


async def clean(database_url: str, *, budget: float | None = None) -> Cleanup:
    database = Database(database_url, timeout=30, pool_size=2)
    try:
        cleanup = Cleanup(database, RETENTION, RETENTION, timedelta(days=90))
        await cleanup.run(budget=budget)
        return cleanup
    finally:
        await database.close()


async def age(db: Any, session_id: str, how: str) -> None:
    await db.execute(f"UPDATE user_sessions SET {how} WHERE id = $1", session_id)


async def counts(db: Any) -> list[int]:
    return list(await db.fetchrow(COUNTS))


@pytest.mark.parametrize("how", LONG_AGO)
async def test_what_ended_long_ago_goes_and_its_guest_with_it(
    client: Any, db: Any, database_url: str, how: str
) -> None:
    gone, stays = await client.guest(), await client.guest()
    await age(db, gone.session_id, LONG_AGO[how])
    done = await clean(database_url)
    assert (done.sessions_purged, done.guests_deleted) == (1, 1)
    assert await counts(db) == [1, 1, 1]
    assert await client.data("{ viewer { id } }", token=stays.token)


@pytest.mark.parametrize("how", LATELY)
async def test_what_ended_lately_is_kept_for_the_retention(
    client: Any, db: Any, database_url: str, how: str
) -> None:
    guest = await client.guest()
    await age(db, guest.session_id, LATELY[how])
    await clean(database_url)
    assert await counts(db) == [1, 1, 1]


async def test_a_live_session_is_never_purged_however_old(
    client: Any, db: Any, database_url: str
) -> None:
    guest = await client.guest()
    await age(db, guest.session_id, "created_at = now() - interval '9 years'")
    await clean(database_url)
    assert await client.data("{ viewer { id } }", token=guest.token)


async def test_a_guest_with_another_live_session_stays(
    client: Any, db: Any, database_url: str, add_session: Any
) -> None:
    guest = await client.guest()
    await add_session(guest)
    await age(db, guest.session_id, LONG_AGO["revoked"])
    await clean(database_url)
    assert await counts(db) == [1, 1, 1]


@pytest.mark.parametrize("mark", ["role = 'ADMIN'", "is_guest = false"])
async def test_an_administrator_and_an_account_stay_without_a_session(
    client: Any, db: Any, database_url: str, mark: str
) -> None:
    guest = await client.guest()
    await db.execute(f"UPDATE users SET {mark}")
    await age(db, guest.session_id, LONG_AGO["revoked"])
    await clean(database_url)
    assert await counts(db) == [0, 1, 1]


async def test_a_guest_whose_sessions_row_was_deleted_by_hand_is_found_by_the_sweep(
    client: Any, db: Any, database_url: str
) -> None:
    await client.guest()
    await db.execute("DELETE FROM user_sessions")
    done = await clean(database_url)
    assert done.guests_deleted == 1
    assert await counts(db) == [0, 0, 0]


async def test_what_idled_out_long_ago_goes_and_its_guest_with_it(
    client: Any, db: Any, database_url: str
) -> None:
    """Such sessions are in no index: the sweep finds them."""
    gone, lately, off = [await client.guest() for _ in range(3)]
    await age(db, gone.session_id, "last_active_at = now() - idle_timeout - interval '31 d'")
    await age(db, lately.session_id, "last_active_at = now() - idle_timeout - interval '29 d'")
    await age(
        db, off.session_id, "last_active_at = now() - interval '9 years', idle_timeout = NULL"
    )
    done = await clean(database_url)
    assert (done.sessions_purged, done.guests_deleted) == (1, 1)
    assert await counts(db) == [2, 2, 2]


async def test_a_guest_with_an_open_link_code_stays(
    client: Any, db: Any, database_url: str
) -> None:
    guest = await client.guest()
    await client.link_code(guest)
    await age(db, guest.session_id, LONG_AGO["revoked"])
    await clean(database_url)
    assert await counts(db) == [0, 1, 1]
    await db.execute("UPDATE link_codes SET expires_at = now()")
    await clean(database_url)
    assert await counts(db) == [0, 0, 0]


async def test_a_deleted_guests_name_is_free_again(
    client: Any, db: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auth.names.two_words", lambda: "only-one")
    guest = await client.guest()
    await age(db, guest.session_id, LONG_AGO["revoked"])
    await clean(database_url)
    await client.guest()
    assert await db.fetchval("SELECT username FROM users") == "only-one"


async def many_guests(db: Any, count: int, how: str) -> None:
    """Guests whose only session ended long ago, in three statements."""
    await db.execute(
        f"""WITH u AS (INSERT INTO users (id, username, is_guest)
                SELECT gen_random_uuid(), 'guest-' || n, true FROM generate_series(1, {count}) n
                RETURNING id, username),
            n AS (INSERT INTO usernames SELECT username, id FROM u)
            INSERT INTO user_sessions (user_id, id, label, expires_at, activity_resolution)
            SELECT id, gen_random_uuid(), 'old', now() + interval '1 d', interval '60 s' FROM u"""
    )
    await db.execute(f"UPDATE user_sessions SET {how} WHERE label = 'old'")


async def test_many_batches_are_purged_to_the_last(db: Any, database_url: str) -> None:
    await many_guests(db, 1700, LONG_AGO["expired"])
    done = await clean(database_url)
    assert (done.sessions_purged, done.guests_deleted) == (1700, 1700)
    assert await counts(db) == [0, 0, 0]


async def test_a_run_without_time_leaves_the_rest_to_the_next(db: Any, database_url: str) -> None:
    await many_guests(db, 1700, LONG_AGO["expired"])
    done = await clean(database_url, budget=0.001)
    assert done.sessions_purged <= 500
    assert (await clean(database_url)).sessions_purged == 1700 - done.sessions_purged


async def test_of_two_runners_one_does_nothing(db: Any, database_url: str) -> None:
    await many_guests(db, 10, LONG_AGO["expired"])
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", 0x62_69_67_32)
        done = await clean(database_url, budget=5)
    assert done.sessions_purged == 0


async def test_workers_clean_up_by_themselves(start_app: Any, db: Any) -> None:
    await many_guests(db, 600, LONG_AGO["revoked"])
    for _ in range(2):
        await start_app(SESSION_CLEANUP_INTERVAL=1)
    for _ in range(100):
        if await counts(db) == [0, 0, 0]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(await counts(db))


async def test_cleaning_up_beside_traffic_refuses_nobody(
    client: Any, db: Any, database_url: str
) -> None:
    await many_guests(db, 2000, LONG_AGO["expired"])
    guests, _ = await asyncio.gather(
        asyncio.gather(*(client.guest() for _ in range(40))), clean(database_url)
    )
    for guest in guests:
        await client.data("{ viewer { id } }", token=guest.token)
    assert await counts(db) == [40, 40, 40]


async def test_a_session_that_is_being_made_keeps_its_guest(
    client: Any, db: Any, database_url: str
) -> None:
    """The foreign key refuses the purge, rather than the purge deleting a live session."""
    guest = await client.guest()
    await age(db, guest.session_id, LONG_AGO["revoked"])
    async with db.transaction():
        await db.execute(
            """INSERT INTO user_sessions (user_id, id, label, expires_at, activity_resolution)
               VALUES ($1, $2, 'new', now() + interval '1 d', interval '60 s')""",
            UUID(guest.user_id),
            uuid4(),
        )
        cleaning = asyncio.create_task(clean(database_url))
        await asyncio.sleep(0.3)
    await asyncio.gather(cleaning, return_exceptions=True)
    assert await db.fetchval("SELECT count(*) FROM user_sessions WHERE label = 'new'") == 1
    assert await db.fetchval("SELECT count(*) FROM users") == 1


def command(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", "cleanup", *words],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_command_shows_first_and_purges_when_told(
    client: Any, db: Any, database_url: str
) -> None:
    gone, _ = await client.guest(), await client.guest()
    await age(db, gone.session_id, LONG_AGO["revoked"])
    shown = await asyncio.to_thread(command, database_url)
    assert "Would purge 1 sessions and 1 guests" in shown.stdout
    assert await counts(db) == [2, 2, 2]
    done = await asyncio.to_thread(command, database_url, "--apply")
    assert "Purged 1 sessions and 1 guests" in done.stdout
    assert await counts(db) == [1, 1, 1]
