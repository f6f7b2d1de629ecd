"""Two clocks: the deadline that never moves, and the end by idling."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

CLOCKS = "{ currentSession { createdAt lastActiveAt expiresAt idleExpiresAt status } }"
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def clocks(client: Any, token: str) -> dict[str, datetime]:
    seen = (await client.data(CLOCKS, token=token))["currentSession"]
    return {
        name: datetime.fromisoformat(value)
        for name, value in seen.items()
        if name != "status" and value is not None
    }


async def age(db: Any, guest: Any, what: str) -> None:
    await db.execute(f"UPDATE user_sessions SET {what} WHERE id = $1", UUID(guest.session_id))


async def test_a_guest_that_was_never_used_has_a_day(client: Any, db: Any) -> None:
    guest = await client.guest()
    seen = await clocks(client, guest.token)
    assert seen["idleExpiresAt"] - seen["lastActiveAt"] == DAY + MINUTE
    assert seen["expiresAt"] - seen["createdAt"] == 30 * DAY
    row = await db.fetchrow("SELECT * FROM user_sessions")
    assert (row["idle_timeout"], row["idle_timeout_once_used"]) == (DAY, 14 * DAY)


async def test_its_first_use_is_recorded_whatever_the_resolution(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_ACTIVITY_RESOLUTION=86400)
    guest = await client.guest()
    await client.gql("{ viewer { id } }", token=guest.token)
    await client.flush()
    row = await db.fetchrow("SELECT * FROM user_sessions")
    assert (row["idle_timeout"], row["idle_timeout_once_used"]) == (14 * DAY, None)
    assert row["last_active_at"] > row["created_at"]
    seen = await clocks(client, guest.token)
    assert seen["idleExpiresAt"] - seen["lastActiveAt"] == 15 * DAY


@pytest.mark.parametrize("idle", [0, 3600, 86400])
async def test_so_it_is_whatever_the_idle_timeout(start_app: Any, db: Any, idle: int) -> None:
    client = await start_app(SESSION_IDLE_TIMEOUT=idle, SESSION_ACTIVITY_RESOLUTION=86400)
    guest = await client.guest()
    await client.gql("{ viewer { id } }", token=guest.token)
    await client.flush()
    assert await db.fetchval("SELECT last_active_at > created_at FROM user_sessions")


async def test_idling_ends_a_session_at_the_sum_on_its_row(client: Any, db: Any) -> None:
    guest = await client.guest()
    second = await client.device(guest)
    await client.flush()
    await age(db, guest, "last_active_at = now() - idle_timeout - interval '59 s'")
    assert await client.data("{ viewer { id } }", token=guest.token)
    await age(db, guest, "last_active_at = now() - idle_timeout - interval '61 s'")
    response = await client.gql("{ viewer { id } }", token=guest.token)
    assert response.status_code == 401
    told = response.json()["errors"][0]["extensions"]
    assert told["reason"] == "SESSION_IDLE"
    listed = (await client.data("{ mySessions { id } }", token=second.token))["mySessions"]
    assert [s["id"] for s in listed] == [second.session_id]


async def test_once_idled_out_a_session_stays_so(client: Any, db: Any) -> None:
    guest = await client.guest()
    await age(db, guest, "last_active_at = now() - interval '20 d'")
    for _ in range(2):
        assert (await client.gql("{ viewer { id } }", token=guest.token)).status_code == 401
        await client.flush()


async def test_a_use_keeps_a_session_alive_without_a_new_token(client: Any, db: Any) -> None:
    guest = await client.guest()
    await client.gql("{ viewer { id } }", token=guest.token)
    await client.flush()
    for _ in range(3):
        await age(db, guest, "last_active_at = now() - interval '13 d'")
        before = await clocks(client, guest.token)
        await client.flush()
        after = await clocks(client, guest.token)
        assert after["idleExpiresAt"] > before["idleExpiresAt"] + 12 * DAY
        assert after["expiresAt"] == before["expiresAt"]


async def test_idling_never_ends_after_the_deadline(client: Any, db: Any) -> None:
    guest = await client.guest()
    await age(db, guest, "expires_at = now() + interval '1 h'")
    seen = await clocks(client, guest.token)
    assert seen["idleExpiresAt"] == seen["expiresAt"]
    await age(db, guest, "created_at = now() - interval '2 h', expires_at = now() - interval '1 s'")
    told = (await client.gql("{ viewer { id } }", token=guest.token)).json()["errors"][0]
    assert told["extensions"]["reason"] == "SESSION_EXPIRED"


async def test_it_can_be_off(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_IDLE_TIMEOUT=0)
    guest = await client.guest()
    await age(db, guest, "last_active_at = now() - interval '9 years'")
    assert "idleExpiresAt" not in await clocks(client, guest.token)
    policy = (await client.data("{ sessionPolicy { idleTimeout } }"))["sessionPolicy"]
    assert policy == {"idleTimeout": None}


@pytest.mark.parametrize(("setting", "kept"), [(3600, 3600), (86400, 86400), (86401, 86400)])
async def test_a_guest_never_has_longer_than_the_policy(
    start_app: Any, db: Any, setting: int, kept: int
) -> None:
    client = await start_app(SESSION_IDLE_TIMEOUT=setting)
    await client.guest()
    timeout = await db.fetchval("SELECT idle_timeout FROM user_sessions")
    assert timeout.total_seconds() == kept


async def test_a_change_of_policy_neither_ends_nor_revives(start_app: Any, db: Any) -> None:
    before = await start_app(SESSION_IDLE_TIMEOUT=1000, SESSION_ACTIVITY_RESOLUTION=10)
    alive, ended = await before.guest(), await before.guest()
    await age(db, alive, "last_active_at = now() - interval '900 s'")
    await age(db, ended, "last_active_at = now() - interval '1011 s'")
    for policy in ({"SESSION_IDLE_TIMEOUT": 60}, {"SESSION_IDLE_TIMEOUT": 0}):
        after = await start_app(**policy)
        assert (await after.gql("{ viewer { id } }", token=alive.token)).status_code == 200
        assert (await after.gql("{ viewer { id } }", token=ended.token)).status_code == 401


async def test_the_policy_can_be_read(client: Any) -> None:
    policy = await client.data(
        "{ sessionPolicy { absoluteLifetime idleTimeout maxSessionsPerUser onLimit"
        " activityResolution retention } }"
    )
    assert policy["sessionPolicy"] == {
        "absoluteLifetime": 2592000,
        "idleTimeout": 1209600,
        "maxSessionsPerUser": 50,
        "onLimit": "REVOKE_OLDEST",
        "activityResolution": 60,
        "retention": 2592000,
    }


async def test_days_are_24_hours_in_every_time_zone(start_app: Any, db: Any) -> None:
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f"ALTER DATABASE \"{name}\" SET timezone = 'Europe/Berlin'")
    client = await start_app(SESSION_ABSOLUTE_LIFETIME=365 * 86400)
    guest = await client.guest()
    seen = await clocks(client, guest.token)
    assert seen["expiresAt"] - seen["createdAt"] == 365 * DAY
    assert seen["idleExpiresAt"] - seen["lastActiveAt"] == DAY + MINUTE
