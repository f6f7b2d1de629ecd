"""Endings of one moment: one statement, which judges everybody as they are at its locks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from math import inf
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from db import endings, guests
from db.direct import Direct
from db.endings import Ending
from db.guests import NewGuest
from db.sessions import NewSession, RevokedReason
from tests.conftest import AddSession, Client, Guest, UntilWaiting

# Found before PostgreSQL's own on a connection that looks there first. The first time that a row is
# judged, its statement has its snapshot already, and waits; the planner asks no volatile function.
SLOW_CLOCK = """
    CREATE SCHEMA slow;
    CREATE FUNCTION slow.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE
        AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1);
                  RETURN pg_catalog.statement_timestamp(); END'"""
REVOKE = "mutation($id: ID) { revokeSession(id: $id) { status } }"
NEVER = timedelta(0)  # young enough is no account's proof; guests have nothing to prove
REVOKED = "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_ADMIN'"


@pytest.fixture
async def slow(db: Any, database_url: str) -> AsyncIterator[Direct]:
    """A connection whose statements wait for advisory lock 1 between their snapshot and locks."""
    await db.execute(SLOW_CLOCK)
    path = {"search_path": "slow, pg_catalog, public"}
    connection = await asyncpg.connect(database_url, server_settings=path)
    yield Direct(connection)
    await connection.close()
    await db.execute("DROP SCHEMA slow CASCADE")


def ending(by: Guest, of: Guest) -> Ending:
    """That one session of a user ends another one."""
    reason = RevokedReason.REVOKED_BY_USER
    return Ending(
        UUID(by.user_id), UUID(of.session_id), reason, UUID(by.session_id), NEVER, inf, None
    )


@pytest.mark.parametrize(
    ("meanwhile", "ends"),
    [
        ("SELECT $1::uuid, $2::uuid, $3::uuid", True),
        (f"{REVOKED} WHERE user_id = $1 AND id = $2 AND $3::uuid IS NOT NULL", False),
        (f"{REVOKED} WHERE user_id = $1 AND id = $3 AND $2::uuid IS NOT NULL", False),
        ("UPDATE users SET disabled_at = now() WHERE id = $1 AND $2 <> $3::uuid", False),
        ("UPDATE users SET is_guest = false WHERE id = $1 AND $2 <> $3::uuid", False),
        (
            "DELETE FROM user_sessions WHERE user_id = $1 AND id = $2 AND $3::uuid IS NOT NULL",
            False,
        ),
    ],
    ids=["nothing", "caller-revoked", "target-revoked", "disabled", "account", "caller-deleted"],
)
async def test_what_is_committed_between_the_snapshot_and_the_lock_is_seen(  # noqa: PLR0917
    meanwhile: str,
    ends: bool,
    slow: Direct,
    client: Client,
    add_session: AddSession,
    db: Any,
    until_waiting: UntilWaiting,
) -> None:
    here, bystander = await client.guest(), await client.guest()
    there, own = await add_session(here), await add_session(bystander)
    wishes = [ending(here, there), ending(bystander, own)]
    await db.execute("SELECT pg_advisory_lock(1)")
    under_way = asyncio.ensure_future(endings.end_together(slow, wishes))
    await until_waiting()
    ids = (UUID(here.user_id), UUID(here.session_id), UUID(there.session_id))
    await db.execute(meanwhile, *ids)
    await db.execute("SELECT pg_advisory_unlock(1)")
    ended, other = await under_way
    assert (ended is not None) == ends
    assert other
    assert str(other.id) == own.session_id
    told = await db.fetch("SELECT session_id FROM session_events WHERE kind = 'REVOKED'")
    assert {row["session_id"] for row in told} == {one.id for one in (ended, other) if one}


async def test_who_is_held_is_left_for_later_and_what_is_not_there_too(
    client: Client, add_session: AddSession, db: Any, database_url: str
) -> None:
    many = [await client.guest() for _ in range(5)]
    others = [await add_session(guest) for guest in many]
    wishes = [ending(guest, other) for guest, other in zip(many, others, strict=True)]
    wishes[4] = wishes[4]._replace(session_id=uuid4())
    connection = await asyncpg.connect(database_url)
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(many[0].user_id))
        locked = "SELECT FROM user_sessions WHERE id = $1 FOR NO KEY UPDATE"
        await db.execute(locked, UUID(many[1].session_id))
        await db.execute(locked, UUID(others[2].session_id))
        ended = await endings.end_together(Direct(connection), wishes)
    await connection.close()
    assert [row and str(row.id) for row in ended] == [None] * 3 + [others[3].session_id, None]


async def test_what_comes_too_late_by_the_databases_clock_changes_nothing(
    client: Client, add_session: AddSession, db: Any
) -> None:
    many = [await client.guest() for _ in range(2)]
    others = [await add_session(guest) for guest in many]
    now = float(await db.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
    late, in_time = (
        ending(guest, other)._replace(latest=latest)
        for guest, other, latest in zip(many, others, (now, now + 60), strict=True)
    )
    ended = await endings.end_together(Direct(db), [late, in_time])
    assert [row and row.id for row in ended] == [None, in_time.session_id]
    hour = timedelta(hours=1)
    sooner, later = (
        NewGuest(
            uuid4(),
            (f"guest-{latest}",),
            latest,
            NewSession(uuid4(), "label", hour, None, None, hour, None, None, None, None, None),
        )
        for latest in (now, now + 60)
    )
    begun = await guests.begin(Direct(db), [sooner, later])
    assert begun.keys() == {later.user_id}
    assert await db.fetchval("SELECT count(*) FROM users") == 3
    assert await db.fetchval("SELECT count(*) FROM usernames") == 3


async def test_one_statement_ends_and_tells(
    client: Client, add_session: AddSession, statements: list[str]
) -> None:
    """After the door's: whoever is far from PostgreSQL waits once for each."""
    guest = await client.guest()
    for _ in range(2):  # before the first one a process asks what kind of PostgreSQL this is
        statements.clear()
        other = await add_session(guest)
        answer = await client.data(REVOKE, token=guest.token, id=other.session_id)
        assert answer["revokeSession"]["status"] == "REVOKED"
    door, end = statements
    assert "UPDATE user_sessions" not in door
    assert "UPDATE user_sessions" in end
    assert "INSERT INTO session_events" in end


@pytest.mark.parametrize(("fresh_for", "ends"), [(None, True), (3700, True), (3500, False)])
async def test_an_account_needs_a_proof_that_is_young_enough_at_the_lock(
    fresh_for: int | None, ends: bool, client: Client, db: Any
) -> None:
    here = await client.account("someone")
    there = await client.device(here)
    await db.execute(
        "UPDATE user_sessions SET created_at = now() - interval '1 h',"
        " authenticated_at = now() - interval '1 h' WHERE id = $1",
        UUID(here.session_id),
    )
    wish = ending(here, there)._replace(
        fresh_for=None if fresh_for is None else timedelta(seconds=fresh_for)
    )
    (ended,) = await endings.end_together(Direct(db), [wish])
    assert (ended is not None) == ends


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_whatever_the_databases_isolation_who_was_revoked_meanwhile_ends_nothing(
    level: str, start_app: Any, add_session: AddSession, db: Any, until_waiting: UntilWaiting
) -> None:
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    try:
        client = await start_app()
        here = await client.guest()
        there = await add_session(here)
        async with db.transaction(isolation="read_committed"):
            await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(here.user_id))
            request = asyncio.ensure_future(
                client.gql(REVOKE, token=here.token, id=there.session_id)
            )
            await until_waiting(request)
            await db.execute(f"{REVOKED} WHERE id = $1", UUID(here.session_id))
        (error,) = (await request).json()["errors"]
        assert error["extensions"]["reason"] == "SESSION_REVOKED"
        left = "SELECT revoked_at FROM user_sessions WHERE id = $1"
        assert await db.fetchval(left, UUID(there.session_id)) is None
    finally:
        await db.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")
