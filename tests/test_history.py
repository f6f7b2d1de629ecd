"""The history: what ended stays in sight for a while, and what happened is written down."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

LIST = "{ mySessions(includeEnded: true) { id status revokedReason } }"
ME = "{ viewer { id } }"


async def listed(client: Any, token: str) -> list[tuple[str, str]]:
    seen = await client.data(LIST, token=token)
    return [(session["id"], session["status"]) for session in seen["mySessions"]]


async def history(db: Any) -> list[Any]:
    rows: list[Any] = await db.fetch("SELECT * FROM session_events ORDER BY at, id")
    return rows


async def test_ended_sessions_follow_the_live_ones_the_last_first(client: Any, db: Any) -> None:
    own = await client.guest()
    live, revoked, expired, idle = [await client.device(own) for _ in range(4)]
    await db.execute("UPDATE user_sessions SET created_at = now() - interval '90 d'")
    for guest, end in (
        (revoked, "revoked_at = now() - interval '1 h', revoked_reason = 'SIGNED_OUT'"),
        (expired, "expires_at = now() - interval '3 h'"),
        (idle, "last_active_at = now() - interval '2 h', idle_timeout = '1 min'"),
    ):
        await db.execute(f"UPDATE user_sessions SET {end} WHERE id = $1", UUID(guest.session_id))
    assert await listed(client, own.token) == [
        (own.session_id, "ACTIVE"),
        (live.session_id, "ACTIVE"),
        (revoked.session_id, "REVOKED"),
        (idle.session_id, "EXPIRED"),
        (expired.session_id, "EXPIRED"),
    ]
    only_live = await client.data("{ mySessions { id } }", token=own.token)
    assert len(only_live["mySessions"]) == 2


async def test_at_most_100_ended_ones_are_listed(client: Any, add_session: Any) -> None:
    own = await client.guest()
    for _ in range(103):
        await add_session(own)
    await client.data("mutation { revokeOtherSessions { revokedCount } }", token=own.token)
    assert len(await listed(client, own.token)) == 101


async def test_what_happens_is_written_down_with_who_and_from_where(
    start_app: Any, db: Any
) -> None:
    client = await start_app(TRUSTED_PROXIES=("127.0.0.1",))
    client.http.headers["X-Forwarded-For"] = "203.0.113.7"
    own = await client.guest()
    other = await client.device(own)
    for field in (
        f'renameSession(id: "{other.session_id}", label: "new") {{ session {{ id }} }}',
        "refreshSession { token }",
        f'revokeSession(id: "{other.session_id}") {{ status }}',
        "revokeAllSessions { revokedCount }",
    ):
        await client.data(f"mutation {{ {field} }}", token=own.token)
    rows = await history(db)
    assert [(row["kind"], str(row["session_id"]), row["reason"]) for row in rows] == [
        ("CREATED", own.session_id, None),
        ("CREATED", other.session_id, None),
        ("RENAMED", other.session_id, None),
        ("REFRESHED", own.session_id, None),
        ("REVOKED", other.session_id, "REVOKED_BY_USER"),
        ("REVOKED", own.session_id, "SIGNED_OUT"),
    ]
    for row in rows:
        assert row["actor"] == "USER"
        assert str(row["actor_user_id"]) == str(row["user_id"]) == own.user_id
        assert str(row["ip_address"]) == "203.0.113.7"
    by = [str(row["actor_session_id"]) for row in rows]
    assert by == [own.session_id, other.session_id, *[own.session_id] * 4]


async def test_nothing_is_written_down_of_what_did_not_happen(client: Any, db: Any) -> None:
    guest, stranger = await client.guest(), await client.guest()
    before = await history(db)
    for field in (
        f'renameSession(id: "{stranger.session_id}", label: "new") {{ session {{ id }} }}',
        f'revokeSession(id: "{stranger.session_id}") {{ status }}',
        "revokeOtherSessions { revokedCount }",
        'createSession(input: {label: ""}) { token }',
    ):
        await client.data(f"mutation {{ {field} }}", token=guest.token)
    assert await history(db) == before


async def test_an_event_and_what_it_records_are_one_transaction(client: Any, db: Any) -> None:
    """Where the one cannot be written, the other is not."""
    guest = await client.guest()
    await db.execute("ALTER TABLE session_events ADD CHECK (kind <> 'REVOKED') NOT VALID")
    response = await client.gql("mutation { revokeSession { status } }", token=guest.token)
    assert response.json()["data"] is None
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_a_sign_in_over_the_cap_and_a_left_session_are_written_down(
    start_app: Any, db: Any
) -> None:
    client = await start_app(SESSION_MAX_PER_USER=1)
    own, stranger = await client.guest(), await client.guest()
    created = await client.redeem(await client.link_code(own), token=stranger.token)
    rows = [row for row in await history(db) if row["kind"] == "REVOKED"]
    assert {(str(row["session_id"]), row["reason"]) for row in rows} == {
        (own.session_id, "SESSION_LIMIT"),
        (stranger.session_id, "SUPERSEDED"),
    }
    assert {str(row["actor_session_id"]) for row in rows} == {created["session"]["id"]}


@pytest.mark.parametrize(
    ("end", "ended_at"),
    [
        ("expires_at = now() - interval '3 h'", "expires_at"),
        (
            "last_active_at = now() - interval '2 h', idle_timeout = '1 min'",
            "last_active_at + idle_timeout + activity_resolution",
        ),
    ],
    ids=["deadline", "idle"],
)
async def test_an_expiry_is_written_down_once_by_the_cleanup_and_dated_at_the_clock(
    client: Any, db: Any, clean_up: Any, end: str, ended_at: str
) -> None:
    await client.guest()
    await db.execute(f"UPDATE user_sessions SET created_at = now() - interval '1 d', {end}")
    for _ in range(2):
        await clean_up()
    (row,) = [row for row in await history(db) if row["kind"] == "EXPIRED"]
    at = await db.fetchval(f"SELECT {ended_at} FROM user_sessions")
    assert (row["at"], row["actor"], row["actor_session_id"]) == (at, "SYSTEM", None)
    assert await db.fetchval("SELECT expired_at FROM user_sessions") == at


async def test_a_revoked_session_does_not_expire_too(client: Any, db: Any, clean_up: Any) -> None:
    guest = await client.guest()
    await client.data("mutation { revokeSession { status } }", token=guest.token)
    await db.execute(
        "UPDATE user_sessions SET created_at = now() - interval '9 d', expires_at = now()"
    )
    await clean_up()
    assert [row["kind"] for row in await history(db)] == ["CREATED", "REVOKED"]


async def test_a_session_that_was_brought_back_by_hand_is_not_purged(
    client: Any, db: Any, clean_up: Any
) -> None:
    guest = await client.guest()
    await db.execute(
        "UPDATE user_sessions SET created_at = now() - interval '90 d',"
        " expires_at = now() + interval '1 d', expired_at = now() - interval '60 d'"
    )
    await clean_up()
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_the_history_outlives_the_guest_and_goes_after_its_retention(
    client: Any, db: Any, clean_up: Any
) -> None:
    await client.guest()
    await db.execute(
        "UPDATE user_sessions SET revoked_at = now() - interval '31 d',"
        " revoked_reason = 'SIGNED_OUT'"
    )
    await clean_up()
    assert await db.fetchval("SELECT count(*) FROM users") == 0
    assert len(await history(db)) == 1
    await db.execute("UPDATE session_events SET at = now() - interval '31 d'")
    await clean_up()
    (row,) = await history(db)
    assert row["ip_address"] is None
    await db.execute("UPDATE session_events SET at = now() - interval '91 d'")
    await clean_up()
    assert await history(db) == []


async def test_the_history_is_purged_while_it_is_being_written(
    client: Any, db: Any, clean_up: Any, database_url: str
) -> None:
    """By batches of a few rows, whose locks are nobody else's."""
    await db.execute(
        """INSERT INTO session_events (user_id, id, session_id, kind, at, actor)
           SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'CREATED',
                  now() - interval '91 d', 'USER' FROM generate_series(1, 1300)"""
    )
    writer = await asyncpg.connect(database_url)
    async with writer.transaction():
        await writer.execute("LOCK TABLE session_events IN ROW EXCLUSIVE MODE")
        await clean_up()
        await client.guest()
    await writer.close()
    assert len(await history(db)) == 1
