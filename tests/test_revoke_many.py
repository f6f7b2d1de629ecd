"""revokeOtherSessions, revokeAllSessions: exact beside sign-ins, and nothing outlives them."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

OTHERS = """mutation { revokeOtherSessions {
    revokedCount dryRun sessions { id status isCurrent revokedReason } } }"""
ALL = OTHERS.replace("revokeOtherSessions", "revokeAllSessions")
ME = "{ viewer { id } }"


async def is_live(client: Any, token: str) -> bool:
    return bool((await client.gql(ME, token=token)).status_code == 200)


async def test_the_others_end_and_ones_own_stays(client: Any, db: Any) -> None:
    own = await client.guest()
    others = [await client.device(own) for _ in range(3)]
    stranger = await client.guest()
    done = (await client.data(OTHERS, token=own.token))["revokeOtherSessions"]
    assert (done["revokedCount"], done["dryRun"]) == (3, False)
    assert {s["id"] for s in done["sessions"]} == {other.session_id for other in others}
    assert {(s["status"], s["revokedReason"], s["isCurrent"]) for s in done["sessions"]} == {
        ("REVOKED", "REVOKED_BY_USER", False)
    }
    assert [await is_live(client, guest.token) for guest in (own, stranger, *others)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    by = await db.fetch(
        "SELECT DISTINCT revoked_by FROM user_sessions WHERE revoked_by IS NOT NULL"
    )
    assert [row["revoked_by"] for row in by] == [UUID(own.session_id)]


async def test_all_end_ones_own_as_signed_out(client: Any) -> None:
    own = await client.guest()
    other, stranger = await client.device(own), await client.guest()
    done = (await client.data(ALL, token=own.token))["revokeAllSessions"]
    assert done["revokedCount"] == 2
    assert {(s["id"], s["revokedReason"], s["isCurrent"]) for s in done["sessions"]} == {
        (own.session_id, "SIGNED_OUT", True),
        (other.session_id, "REVOKED_BY_USER", False),
    }
    assert [await is_live(client, g.token) for g in (own, other, stranger)] == [False, False, True]


async def test_where_nothing_is_left_to_end_nothing_ends(client: Any) -> None:
    guest = await client.guest()
    for _ in range(2):
        done = (await client.data(OTHERS, token=guest.token))["revokeOtherSessions"]
        assert done == {"revokedCount": 0, "dryRun": False, "sessions": []}


async def test_the_sample_is_bounded(client: Any, add_session: Any) -> None:
    guest = await client.guest()
    for _ in range(110):
        await add_session(guest)
    done = (await client.data(OTHERS, token=guest.token))["revokeOtherSessions"]
    assert (done["revokedCount"], len(done["sessions"])) == (110, 100)


async def test_it_is_one_statement_after_the_lock(client: Any, statements: list[str]) -> None:
    guest = await client.guest()
    await client.device(guest)
    del statements[:]
    await client.data(OTHERS, token=guest.token)
    assert [s.split()[0] for s in statements] == ["SELECT", "SELECT", "SELECT", "UPDATE", "INSERT"]
    assert "FOR NO KEY UPDATE" in statements[1]


async def test_a_session_that_is_being_made_is_not_missed(
    client: Any, db: Any, until_waiting: Any
) -> None:
    """A device signs in and has the lock; all are ended meanwhile; then it has a session, ended."""
    own = await client.guest()
    code = await client.link_code(own)
    async with db.transaction():  # holds up the sign-in after it has taken the user's row
        await db.execute("LOCK TABLE user_sessions IN EXCLUSIVE MODE")
        signing_in = asyncio.ensure_future(client.redeem(code))
        await until_waiting(signing_in)
        ending = asyncio.ensure_future(client.data(ALL, token=own.token))
        await until_waiting(ending, count=2)
    assert (await signing_in)["token"]
    assert (await ending)["revokeAllSessions"]["revokedCount"] == 2
    assert await db.fetchval("SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL") == 0


async def test_what_follows_an_ending_in_the_same_document_is_refused(client: Any, db: Any) -> None:
    guest = await client.guest()
    response = await client.gql(
        "mutation { revokeAllSessions { revokedCount } createLinkCode { code } }",
        token=guest.token,
    )
    assert response.status_code == 200
    assert response.json()["data"] is None
    (error,) = response.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["createLinkCode"], "UNAUTHENTICATED")
    assert error["extensions"]["reason"] == "SESSION_REVOKED"
    assert await db.fetchval("SELECT count(*) FROM link_codes") == 0
    assert await db.fetchval("SELECT revoked_reason FROM user_sessions") == "SIGNED_OUT"


AFTER_THE_DOOR = {
    "rename": 'mutation { renameSession(id: "%s", label: "new") { session { id } } }',
    "refresh": "mutation { refreshSession { token } }",
    "code": "mutation { createLinkCode { code } }",
    "others": OTHERS,
    "all": ALL,
    "another": 'mutation { revokeSession(id: "%s") { status } }',
    "guest": "mutation { createSession { token } }",
    "wrong label": 'mutation { createSession(input: {label: ""}) { token } }',
    "wrong name": 'mutation { renameSession(id: "%s", label: "") { session { id } } }',
    "no id": 'mutation { revokeSession(id: "x") { status } }',
    "wrong code": (
        'mutation { createSession(input: {credentials: {linkCode: {code: "x"}}}) { token } }'
    ),
}


@pytest.mark.parametrize("name", AFTER_THE_DOOR)
async def test_a_mutation_whose_session_ends_after_the_door_changes_nothing(
    client: Any, db: Any, until_waiting: Any, name: str
) -> None:
    first = await client.guest()
    second = await client.device(first)
    query = AFTER_THE_DOOR[name].replace("%s", first.session_id)
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(first.user_id))
        under_way = asyncio.ensure_future(client.gql(query, token=second.token))
        await until_waiting(under_way)
        await db.execute(
            "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER'"
            " WHERE id = $1",
            UUID(second.session_id),
        )
        before = await everything(db)
    response = await under_way
    assert response.json()["data"] is None
    told = response.json()["errors"][0]["extensions"]
    assert (told["code"], told["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert told["revokedReason"] == "REVOKED_BY_USER"
    assert await everything(db) == before


async def everything(db: Any) -> list[Any]:
    tables = ("users", "usernames", "user_sessions", "link_codes", "idempotency_keys")
    return [await db.fetch(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]
