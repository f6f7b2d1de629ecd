"""Administrators: the list of everybody's sessions, ending many, disabling a user."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from db import session_search

PAGE = """query($filter: SessionFilter, $first: Int! = 50, $after: String) {
  sessions(filter: $filter, first: $first, after: $after) {
    edges { cursor node { id label status isCurrent user { id username } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
} }"""
REVOKE = """mutation($filter: SessionFilter!, $dryRun: Boolean! = false) {
  revokeSessions(filter: $filter, dryRun: $dryRun) {
    revokedCount dryRun sessions { id status revokedReason isCurrent user { username } }
} }"""
DISABLE = """mutation($id: ID!, $disabled: Boolean!) {
  setUserDisabled(id: $id, disabled: $disabled) { status user { id username } } }"""
ME = "{ viewer { id } }"


@pytest.fixture
async def admin(client: Any, db: Any) -> Any:
    """A guest whom an operator made an administrator."""
    guest = await client.guest()
    await db.execute(
        "UPDATE users SET role = 'ADMIN', is_guest = false WHERE id = $1", UUID(guest.user_id)
    )
    return guest


async def ids(client: Any, admin: Any, **wanted: Any) -> list[str]:
    """The ids that a filter finds, in their order."""
    page = (await client.data(PAGE, token=admin.token, filter=wanted))["sessions"]
    return [edge["node"]["id"] for edge in page["edges"]]


def refusal(response: Any, code: str) -> Any:
    """The one error of an answer without data."""
    assert response.status_code == 200, response.text
    assert response.json()["data"] is None
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == code
    assert error["extensions"]["hint"]
    return error


FOR_ADMINISTRATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "sessions": ("{ sessions { edges { cursor } } }", {}),
    "revokeSessions": (REVOKE, {"filter": {"isGuest": True}}),
    "dry run": (REVOKE, {"filter": {"isGuest": True}, "dryRun": True}),
    "setUserDisabled": (DISABLE, {"id": "x", "disabled": True}),
}


@pytest.mark.parametrize("name", FOR_ADMINISTRATORS)
async def test_nobody_else_may(client: Any, db: Any, name: str) -> None:
    query, variables = FOR_ADMINISTRATORS[name]
    guest = await client.guest()
    before = await db.fetch("SELECT * FROM user_sessions")
    refusal(await client.gql(query, token=guest.token, **variables), "FORBIDDEN")
    refusal(await client.gql(query, **variables), "UNAUTHENTICATED")
    assert await db.fetch("SELECT * FROM user_sessions") == before


async def test_there_is_no_first_come_administrator(client: Any, db: Any) -> None:
    await client.guest()
    assert await db.fetchval("SELECT count(*) FROM users WHERE role IS NOT NULL") == 0


async def test_a_role_that_was_taken_away_is_gone_at_once(client: Any, db: Any, admin: Any) -> None:
    await db.execute("UPDATE users SET role = NULL")
    refusal(await client.gql(PAGE, token=admin.token), "FORBIDDEN")


# The list.


async def test_pages_follow_each_other_newest_first_without_gap_or_repeat(
    client: Any, admin: Any
) -> None:
    made = [admin.session_id] + [(await client.guest()).session_id for _ in range(6)]
    seen: list[str] = []
    after, pages = None, 0
    while True:
        page = (await client.data(PAGE, token=admin.token, first=3, after=after))["sessions"]
        pages += 1
        assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        seen += [edge["node"]["id"] for edge in page["edges"]]
        await client.guest()  # made meanwhile: it comes before the first page
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == made[::-1]
    assert pages == 3


async def test_a_node_has_its_own_user_and_the_callers_is_current(client: Any, admin: Any) -> None:
    guest = await client.guest()
    page = (await client.data(PAGE, token=admin.token))["sessions"]
    nodes = {edge["node"]["id"]: edge["node"] for edge in page["edges"]}
    assert nodes[guest.session_id]["user"]["id"] == guest.user_id
    assert {session_id for session_id in nodes if nodes[session_id]["isCurrent"]} == {
        admin.session_id
    }


async def test_each_filter_finds_what_it_says(
    client: Any, db: Any, admin: Any, add_session: Any
) -> None:
    old, account = await client.guest(), await client.guest()
    phone = await add_session(old, "My Phone")
    await db.execute("UPDATE users SET is_guest = false WHERE id = $1", UUID(account.user_id))
    aged = "UPDATE user_sessions SET {} WHERE id = $1"
    long_ago = "created_at = now() - interval '9 d', last_active_at = now() - interval '8 d'"
    await db.execute(aged.format(long_ago), UUID(old.session_id))
    await db.execute(aged.format("ip_address = '203.0.113.9'"), UUID(phone.session_id))
    await db.execute(
        aged.format("revoked_at = now(), revoked_reason = 'SIGNED_OUT'"), UUID(account.session_id)
    )
    name = await db.fetchval("SELECT username FROM users WHERE id = $1", UUID(old.user_id))
    week = (datetime.now(UTC) - timedelta(days=7)).isoformat()
    everybody = [account.session_id, old.session_id, admin.session_id]
    for wanted, found in (
        ({"userId": old.user_id}, {old.session_id, phone.session_id}),
        ({"username": name.upper()}, {old.session_id, phone.session_id}),
        ({"isGuest": False}, {account.session_id, admin.session_id}),
        ({"status": "REVOKED"}, {account.session_id}),
        ({"status": "EXPIRED"}, {old.session_id}),
        ({"status": "ACTIVE"}, {phone.session_id, admin.session_id}),
        ({"label": "PHON"}, {phone.session_id}),
        ({"label": "%"}, set()),
        ({"ipRange": "203.0.113.0/24"}, {phone.session_id}),
        ({"ipRange": "203.0.113.9"}, {phone.session_id}),
        ({"ipRange": "2001:db8::/32"}, set()),
        ({"createdBefore": week}, {old.session_id}),
        ({"createdAfter": week}, {phone.session_id, account.session_id, admin.session_id}),
        ({"lastActiveBefore": week}, {old.session_id}),
        ({"lastActiveAfter": week, "label": "my ph"}, {phone.session_id}),
        ({"userId": old.user_id, "label": "phone", "status": "REVOKED"}, set()),
        ({}, {*everybody, phone.session_id}),
        ({"label": None, "username": None}, {*everybody, phone.session_id}),
    ):
        assert set(await ids(client, admin, **wanted)) == found, wanted


async def test_after_is_inclusive_and_before_exclusive(client: Any, db: Any, admin: Any) -> None:
    moment = await db.fetchval("SELECT created_at FROM user_sessions")
    assert await ids(client, admin, createdAfter=moment.isoformat()) == [admin.session_id]
    assert await ids(client, admin, createdBefore=moment.isoformat()) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 0},
        {"first": 201},
        {"first": -1},
        {"after": "x"},
        {"after": base64.urlsafe_b64encode(b"x" * 15).decode()},
        {"after": "é"},
        {"filter": {"ipRange": "300.1.2.3"}},
        {"filter": {"ipRange": "203.0.113.0/33"}},
        {"filter": {"createdAfter": "2026-01-01T00:00:00"}},
        {"filter": {"createdAfter": "0001-01-01T00:00:00Z"}},
        {"filter": {"lastActiveBefore": "9999-12-31T23:59:59Z"}},
    ],
)
async def test_a_senseless_argument_is_named(
    client: Any, admin: Any, variables: dict[str, Any]
) -> None:
    refusal(await client.gql(PAGE, token=admin.token, **variables), "BAD_USER_INPUT")


@pytest.mark.parametrize("wanted", [{"userId": "x"}, {"username": "nobody"}, {"userId": ""}])
async def test_nobodys_sessions_are_none(client: Any, admin: Any, wanted: Any) -> None:
    assert await ids(client, admin, **wanted) == []


async def test_a_search_that_takes_too_long_says_so(
    client: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_search, "TIMEOUT", "300ms")
    slow = "pg_sleep(5) IS NOT NULL AND :label <> ''"
    monkeypatch.setitem(session_search.CONDITIONS, "label", slow)
    response = await client.gql(PAGE, token=admin.token, filter={"label": "x"})
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "TIMEOUT"
    assert "userId" in error["extensions"]["hint"]
    assert (await client.gql(PAGE, token=admin.token)).status_code == 200


# Ending many.


async def revoke(client: Any, admin: Any, *, dry: bool = False, **wanted: Any) -> Any:
    sent = await client.data(REVOKE, token=admin.token, filter=wanted, dryRun=dry)
    return sent["revokeSessions"]


async def test_a_dry_run_counts_and_samples_what_the_real_one_ends(
    client: Any, db: Any, admin: Any
) -> None:
    guests = [await client.guest() for _ in range(4)]
    await client.data("mutation { revokeSession { status } }", token=guests.pop().token)
    expected = {guest.session_id for guest in guests}
    before = await db.fetch("SELECT * FROM user_sessions ORDER BY id")
    shown = await revoke(client, admin, dry=True, isGuest=True)
    assert (shown["revokedCount"], shown["dryRun"]) == (3, True)
    assert {session["id"] for session in shown["sessions"]} == expected
    assert await db.fetch("SELECT * FROM user_sessions ORDER BY id") == before
    done = await revoke(client, admin, isGuest=True)
    assert (done["revokedCount"], done["dryRun"]) == (3, False)
    assert {session["id"] for session in done["sessions"]} == expected
    assert {session["revokedReason"] for session in done["sessions"]} == {"REVOKED_BY_ADMIN"}
    assert (await revoke(client, admin, isGuest=True))["revokedCount"] == 0
    assert (await client.gql(ME, token=admin.token)).status_code == 200
    for guest in guests:
        told = (await client.gql(ME, token=guest.token)).json()["errors"][0]["extensions"]
        assert told["revokedReason"] == "REVOKED_BY_ADMIN"


async def test_an_empty_filter_is_refused(client: Any, admin: Any) -> None:
    await client.guest()
    for wanted in ({}, {"label": None}):
        response = await client.gql(REVOKE, token=admin.token, filter=wanted)
        refusal(response, "BAD_USER_INPUT")


@pytest.mark.parametrize("wanted", [{"label": ""}, {"username": ""}])
async def test_an_empty_text_does_not_mean_everybody(
    client: Any, admin: Any, wanted: dict[str, str]
) -> None:
    guest = await client.guest()
    refusal(await client.gql(REVOKE, token=admin.token, filter=wanted), "BAD_USER_INPUT")
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_two_administrators_who_revoke_each_other_do_not_deadlock(
    client: Any, db: Any
) -> None:
    for _ in range(4):
        one, other = await client.guest(), await client.guest()
        await db.execute("UPDATE users SET role = 'ADMIN', is_guest = false")
        answers = await asyncio.gather(
            client.gql(REVOKE, token=one.token, filter={"userId": other.user_id}),
            client.gql(REVOKE, token=other.token, filter={"userId": one.user_id}),
        )
        assert {answer.status_code for answer in answers} <= {200, 401}


async def test_0_is_never_answered_while_a_matching_session_lives(start_app: Any, db: Any) -> None:
    """Its user's row is held for longer than the request has time."""
    client = await start_app(DATABASE_TIMEOUT=1)
    admin, busy = await client.guest(), await client.guest()
    await db.execute(
        "UPDATE users SET role = 'ADMIN', is_guest = false WHERE id = $1", UUID(admin.user_id)
    )
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(busy.user_id))
        response = await client.gql(REVOKE, token=admin.token, filter={"userId": busy.user_id})
    assert response.status_code == 503
    assert (await revoke(client, admin, userId=busy.user_id))["revokedCount"] == 1


async def test_ended_sessions_are_not_ended_again(client: Any, db: Any, admin: Any) -> None:
    guest = await client.guest()
    await client.data("mutation { revokeSession { status } }", token=guest.token)
    before = await db.fetch("SELECT * FROM user_sessions ORDER BY id")
    assert (await revoke(client, admin, status="REVOKED"))["revokedCount"] == 0
    assert await db.fetch("SELECT * FROM user_sessions ORDER BY id") == before


async def test_several_batches_end_all_and_the_sample_is_bounded(
    client: Any, db: Any, admin: Any
) -> None:
    await db.execute(
        """WITH u AS (INSERT INTO users (id, username, is_guest)
               SELECT gen_random_uuid(), 'guest-' || n, true FROM generate_series(1, 530) n
               RETURNING id)
           INSERT INTO user_sessions (user_id, id, label, expires_at, activity_resolution)
           SELECT id, gen_random_uuid(), 'bulk', now() + interval '1 d', interval '60 s' FROM u"""
    )
    done = await revoke(client, admin, label="bulk")
    assert (done["revokedCount"], len(done["sessions"])) == (530, 100)
    events = "SELECT count(*) FROM session_events WHERE kind = 'REVOKED' AND actor = 'ADMIN'"
    assert await db.fetchval(events) == 530
    by = await db.fetch("SELECT DISTINCT revoked_by FROM user_sessions WHERE label = 'bulk'")
    assert [str(row["revoked_by"]) for row in by] == [admin.session_id]


async def test_it_waits_for_nobody_while_others_wait_for_it(
    client: Any, db: Any, admin: Any
) -> None:
    """A user whose row is held is passed over, and ended last."""
    busy, free = await client.guest(), await client.guest()
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(busy.user_id))
        under_way = asyncio.ensure_future(revoke(client, admin, isGuest=True))
        while (await client.gql(ME, token=free.token)).status_code == 200:
            assert not under_way.done()
        renamed = "mutation { createLinkCode { code } }"
        other = await client.guest()
        assert (await client.gql(renamed, token=other.token)).status_code == 200
        assert not under_way.done()
    assert (await under_way)["revokedCount"] >= 2
    assert (await client.gql(ME, token=busy.token)).status_code == 401


async def test_what_a_session_has_under_way_does_not_outlive_its_bulk_end(
    client: Any, db: Any, admin: Any, until_waiting: Any
) -> None:
    """A second device is being signed in by a code while its maker is ended."""
    guest = await client.guest()
    code = await client.link_code(guest)
    async with db.transaction():
        await db.execute("LOCK TABLE session_events IN EXCLUSIVE MODE")
        signing_in = asyncio.ensure_future(client.redeem(code))
        await until_waiting(signing_in)
        ending = asyncio.ensure_future(revoke(client, admin, userId=guest.user_id))
        await until_waiting(ending, count=2)
    assert (await signing_in)["token"]
    assert (await ending)["revokedCount"] == 2
    live = "SELECT count(*) FROM user_sessions WHERE user_id = $1 AND revoked_at IS NULL"
    assert await db.fetchval(live, UUID(guest.user_id)) == 0


# Disabling.


async def disable(client: Any, admin: Any, user_id: str, *, disabled: bool = True) -> Any:
    sent = await client.data(DISABLE, token=admin.token, id=user_id, disabled=disabled)
    return sent["setUserDisabled"]


async def test_disabling_ends_all_and_enabling_revives_nothing(
    client: Any, db: Any, admin: Any
) -> None:
    guest = await client.guest()
    other = await client.device(guest)
    code = await client.link_code(guest)
    done = await disable(client, admin, guest.user_id)
    assert (done["status"], done["user"]["id"]) == ("CHANGED", guest.user_id)
    for device in (guest, other):
        told = (await client.gql(ME, token=device.token)).json()["errors"][0]["extensions"]
        assert told["revokedReason"] == "USER_DISABLED"
    assert (await disable(client, admin, guest.user_id))["status"] == "UNCHANGED"
    assert (await disable(client, admin, guest.user_id, disabled=False))["status"] == "CHANGED"
    assert (await client.gql(ME, token=guest.token)).status_code == 401
    assert (await client.redeem(code))["token"] is None
    events = "SELECT count(*) FROM session_events WHERE reason = 'USER_DISABLED'"
    assert await db.fetchval(events) == 2


async def test_whom_nobody_knows_is_not_found(client: Any, admin: Any) -> None:
    for user_id in ("x", "", "01900000-0000-7000-8000-000000000000"):
        done = await disable(client, admin, user_id)
        assert done == {"status": "NOT_FOUND", "user": None}


async def test_two_administrators_who_disable_each_other_do_not_deadlock(
    client: Any, db: Any
) -> None:
    one, other = await client.guest(), await client.guest()
    await db.execute("UPDATE users SET role = 'ADMIN', is_guest = false")
    answers = await asyncio.gather(
        client.gql(DISABLE, token=one.token, id=other.user_id, disabled=True),
        client.gql(DISABLE, token=other.token, id=one.user_id, disabled=True),
    )
    assert {answer.status_code for answer in answers} <= {200, 401}
    assert await db.fetchval("SELECT count(*) FROM users WHERE disabled_at IS NULL") == 1
