"""The cap: how many live sessions a user may have, exact however many sign in at once."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from auth import codes

LIVE = "SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL"


async def codes_for(db: Any, guest: Any, count: int) -> list[str]:
    """As many open codes as are wanted, past the limit of three."""
    made = [codes.new_link_code() for _ in range(count)]
    for code in made:
        await db.execute(
            "INSERT INTO link_codes (code_hash, user_id, session_id, expires_at)"
            " VALUES ($1, $2, $3, now() + interval '5 min')",
            codes.link_code_hash(code),
            UUID(guest.user_id),
            UUID(guest.session_id),
        )
    return made


async def test_the_oldest_makes_room(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_MAX_PER_USER=3)
    first = await client.guest()
    second, third = await client.device(first), await client.device(first)
    fourth = await client.device(first)
    told = (await client.gql("{ viewer { id } }", token=first.token)).json()["errors"][0]
    assert told["extensions"]["revokedReason"] == "SESSION_LIMIT"
    for device in (second, third, fourth):
        assert await client.data("{ viewer { id } }", token=device.token)
    row = await db.fetchrow("SELECT * FROM user_sessions WHERE id = $1", UUID(first.session_id))
    assert str(row["revoked_by"]) == fourth.session_id


async def test_of_two_made_at_the_same_time_the_smaller_id_goes(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_MAX_PER_USER=3)
    first = await client.guest()
    await client.device(first)
    await client.device(first)
    await db.execute("UPDATE user_sessions SET created_at = '2026-01-01'")
    smallest = await db.fetchval("SELECT id FROM user_sessions ORDER BY id LIMIT 1")
    (code,) = await codes_for(db, first, 1)
    assert (await client.redeem(code))["token"]
    ended = await db.fetch("SELECT id FROM user_sessions WHERE revoked_at IS NOT NULL")
    assert [row["id"] for row in ended] == [smallest]


async def test_ended_sessions_do_not_count(start_app: Any, add_session: Any, db: Any) -> None:
    client = await start_app(SESSION_MAX_PER_USER=2)
    first = await client.guest()
    for end in (
        "revoked_at = now(), revoked_reason = 'SIGNED_OUT'",
        "last_active_at = now() - interval '40 d', idle_timeout = '1 d'",
        "created_at = now() - interval '40 d', expires_at = now()",
    ):
        other = await add_session(first)
        await db.execute(f"UPDATE user_sessions SET {end} WHERE id = $1", UUID(other.session_id))
    await client.device(first)
    assert await client.data("{ viewer { id } }", token=first.token)


async def test_rejected_changes_nothing(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_MAX_PER_USER=2, SESSION_ON_LIMIT="REJECT")
    first = await client.guest()
    await client.device(first)
    code = await client.link_code(first)
    refused = await client.redeem(code)
    assert refused["token"] is None
    assert [error["code"] for error in refused["userErrors"]] == ["SESSION_LIMIT"]
    assert await db.fetchval(LIVE) == 2
    stranger = await client.guest()
    assert (await client.redeem(code, token=stranger.token))["token"] is None
    assert await client.data("{ viewer { id } }", token=stranger.token)
    await client.data("mutation { revokeOtherSessions { revokedCount } }", token=first.token)
    assert (await client.redeem(code))["token"]  # the code was not spent by being refused


async def test_a_device_that_signs_in_anew_makes_its_own_room(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_MAX_PER_USER=2, SESSION_ON_LIMIT="REJECT")
    first = await client.guest()
    second = await client.device(first)
    created = await client.redeem(await client.link_code(first), token=second.token)
    assert created["userErrors"] == []
    assert await db.fetchval(LIVE) == 2


async def test_a_lowered_cap_hides_none_and_ends_the_surplus_at_the_next_sign_in(
    start_app: Any, db: Any
) -> None:
    before = await start_app()
    first = await before.guest()
    for _ in range(4):
        await before.device(first)
    after = await start_app(SESSION_MAX_PER_USER=2)
    listed = await after.data("{ mySessions { id } }", token=first.token)
    assert len(listed["mySessions"]) == 5
    await after.device(first)
    assert await db.fetchval(LIVE) == 2


@pytest.mark.parametrize("policy", ["REVOKE_OLDEST", "REJECT"])
async def test_100_sign_ins_at_once_never_leave_more_than_the_cap(
    start_app: Any, db: Any, add_session: Any, policy: str
) -> None:
    """On two workers, with real connections."""
    settings = {"SESSION_MAX_PER_USER": 5, "SESSION_ON_LIMIT": policy, "DATABASE_TIMEOUT": 60}
    workers = [await start_app(**settings) for _ in range(2)]
    first = await workers[0].guest()
    keeper = await add_session(first, "maker")
    if policy == "REVOKE_OLDEST":  # or the code's own session would make room, and end the codes
        await db.execute(
            "UPDATE user_sessions SET created_at = now() + interval '1 h',"
            " expires_at = now() + interval '9 d' WHERE id = $1",
            UUID(keeper.session_id),
        )
    made = await codes_for(db, keeper, 100)
    created = await asyncio.gather(*(workers[n % 2].redeem(code) for n, code in enumerate(made)))
    succeeded = [payload for payload in created if payload["token"]]
    assert len(succeeded) == (100 if policy == "REVOKE_OLDEST" else 3)
    assert await db.fetchval(LIVE) == 5
    ids = await db.fetch("SELECT id FROM user_sessions WHERE revoked_at IS NULL")
    if policy == "REVOKE_OLDEST":
        assert UUID(keeper.session_id) in {row["id"] for row in ids}
