"""A second device: createLinkCode, and createSession with the code."""

import asyncio
import re
from typing import Any
from uuid import UUID

import pytest

from auth import codes

CREATE_CODE = """mutation { createLinkCode {
    code expiresAt userErrors { code message path } } }"""
REFUSED = {"code": "INVALID_CREDENTIALS", "path": ["input", "credentials"]}


async def refusal(client: Any, code: str, **more: Any) -> Any:
    """The one error of a code that lets nobody in."""
    created = await client.redeem(code, **more)
    assert (created["token"], created["session"]) == (None, None)
    (error,) = created["userErrors"]
    assert {name: error[name] for name in REFUSED} == REFUSED
    return error


async def test_a_second_device_signs_in_as_the_same_user(client: Any, db: Any) -> None:
    first = await client.guest()
    made = (await client.data(CREATE_CODE, token=first.token))["createLinkCode"]
    created = await client.redeem(made["code"])
    assert created["session"]["user"]["id"] == first.user_id
    assert created["session"]["id"] != first.session_id
    assert created["session"]["isCurrent"] is True
    seen = await client.data("{ mySessions { id } }", token=created["token"])
    assert {s["id"] for s in seen["mySessions"]} == {first.session_id, created["session"]["id"]}
    assert await client.data("{ viewer { id } }", token=first.token)
    assert await db.fetchval("SELECT count(*) FROM users") == 1


async def test_a_code_is_readable_has_80_bits_and_lives_five_minutes(client: Any, db: Any) -> None:
    guest = await client.guest()
    made = (await client.data(CREATE_CODE, token=guest.token))["createLinkCode"]
    assert re.fullmatch(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", made["code"])
    left = await db.fetchval("SELECT expires_at - created_at FROM link_codes")
    assert left.total_seconds() == 300


async def test_a_code_is_stored_hashed_only(client: Any, db: Any) -> None:
    code = await client.link_code(await client.guest())
    row = str(await db.fetchrow("SELECT * FROM link_codes"))
    assert code not in row
    assert code.replace("-", "") not in row


@pytest.mark.parametrize(
    "typed",
    [
        str.lower,
        lambda code: code.replace("-", ""),
        lambda code: code.replace("-", " "),
        lambda code: f" {code} ",
        lambda code: code.replace("0", "o").replace("1", "l"),
        lambda code: code.replace("1", "I"),
    ],
    ids=["lower", "in one", "blanks", "around", "misread", "misread too"],
)
async def test_a_code_is_understood_however_it_is_typed(client: Any, typed: Any) -> None:
    code = await client.link_code(await client.guest())
    assert (await client.redeem(typed(code)))["userErrors"] == []


async def test_wrong_spent_late_and_senseless_codes_read_the_same(client: Any, db: Any) -> None:
    guest = await client.guest()
    spent, late = await client.link_code(guest), await client.link_code(guest)
    await client.redeem(spent)
    await db.execute(
        "UPDATE link_codes SET expires_at = now() WHERE code_hash = $1", codes.link_code_hash(late)
    )
    tried = [spent, late, codes.new_link_code(), "", "x", "U" * 16, "\N{OTTER}" * 16, "0" * 9_999]
    told = [await refusal(client, code) for code in tried]
    assert all(error == told[0] for error in told)
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 2


async def test_of_parallel_uses_one_succeeds(client: Any, db: Any) -> None:
    code = await client.link_code(await client.guest())
    tried = await asyncio.gather(*(client.redeem(code) for _ in range(20)))
    assert [bool(created["token"]) for created in tried].count(True) == 1
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 2


async def test_the_end_of_the_session_that_made_it_ends_a_code(client: Any) -> None:
    first = await client.guest()
    second = await client.device(first)
    code = await client.link_code(second)
    await client.data(
        "mutation($id: ID) { revokeSession(id: $id) { status } }",
        token=first.token,
        id=second.session_id,
    )
    await refusal(client, code)


async def test_a_code_whose_session_idled_out_or_was_deleted_is_refused(
    client: Any, db: Any
) -> None:
    for end in (
        "UPDATE user_sessions SET last_active_at = now() - interval '40 d' WHERE id = $1",
        "DELETE FROM user_sessions WHERE id = $1",
    ):
        guest = await client.guest()
        code = await client.link_code(guest)
        await db.execute(end, UUID(guest.session_id))
        await refusal(client, code)


async def test_a_disabled_user_cannot_sign_in(client: Any, db: Any) -> None:
    code = await client.link_code(await client.guest())
    await db.execute("UPDATE users SET disabled_at = now()")
    await refusal(client, code)


async def test_three_codes_may_be_open_and_a_spent_one_makes_room(client: Any, db: Any) -> None:
    guest = await client.guest()
    opened = await asyncio.gather(*(client.data(CREATE_CODE, token=guest.token) for _ in range(8)))
    made = [answer["createLinkCode"] for answer in opened]
    assert [bool(payload["code"]) for payload in made].count(True) == 3
    (error,) = next(payload["userErrors"] for payload in made if not payload["code"])
    assert error["code"] == "LINK_CODE_LIMIT"
    await client.redeem(next(payload["code"] for payload in made if payload["code"]))
    assert await client.link_code(guest)
    await db.execute("UPDATE link_codes SET expires_at = now()")
    assert await client.link_code(guest)


async def test_the_time_of_the_proof_is_the_first_devices(client: Any, db: Any) -> None:
    first = await client.guest()
    await db.execute("UPDATE user_sessions SET authenticated_at = now() - interval '3 h'")
    seen = await client.data("{ currentSession { authenticatedAt } }", token=first.token)
    created = await client.redeem(await client.link_code(first))
    proven = seen["currentSession"]["authenticatedAt"]
    assert created["session"]["authenticatedAt"] == proven


async def test_a_device_that_was_signed_in_leaves_that_session(client: Any, db: Any) -> None:
    owner, before = await client.guest(), await client.guest()
    created = await client.redeem(await client.link_code(owner), token=before.token)
    assert created["session"]["user"]["id"] == owner.user_id
    row = await db.fetchrow("SELECT * FROM user_sessions WHERE id = $1", UUID(before.session_id))
    assert row["revoked_reason"] == "SUPERSEDED"
    assert str(row["revoked_by"]) == created["session"]["id"]
    told = (await client.gql("{ viewer { id } }", token=before.token)).json()["errors"][0]
    assert told["extensions"]["reason"] == "SESSION_REVOKED"
    assert told["extensions"]["revokedReason"] == "SUPERSEDED"


async def test_a_code_that_is_refused_leaves_the_callers_session(client: Any) -> None:
    guest = await client.guest()
    await refusal(client, codes.new_link_code(), token=guest.token)
    assert await client.data("{ viewer { id } }", token=guest.token)


async def test_two_users_who_redeem_each_others_codes_do_not_deadlock(client: Any) -> None:
    for _ in range(5):
        one, other = await client.guest(), await client.guest()
        codes_made = await client.link_code(one), await client.link_code(other)
        created = await asyncio.gather(
            client.redeem(codes_made[1], token=one.token),
            client.redeem(codes_made[0], token=other.token),
        )
        # Whoever comes first leaves the session that the other code depends on.
        assert [bool(payload["token"]) for payload in created].count(True) >= 1


@pytest.mark.parametrize(
    "credentials",
    [{}, {"linkCode": None}, {"linkCode": {"code": "x"}, "idToken": {"token": "x"}}],
)
async def test_credentials_are_one_of(client: Any, credentials: Any) -> None:
    response = await client.gql(
        "mutation($c: CredentialsInput) { createSession(input: {credentials: $c}) { token } }",
        c=credentials,
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    "credentials", ["{}", "{linkCode: null}", '{linkCode: {code: "x"}, idToken: {token: "x"}}']
)
async def test_so_they_are_as_a_literal(client: Any, credentials: str) -> None:
    response = await client.gql(
        f"mutation {{ createSession(input: {{credentials: {credentials}}}) {{ token }} }}"
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_a_code_that_is_being_made_by_a_session_that_ends_is_not_made(
    client: Any, db: Any, until_waiting: Any
) -> None:
    first = await client.guest()
    second = await client.device(first)
    async with db.transaction():
        await db.execute("SELECT FROM users FOR UPDATE")
        under_way = asyncio.ensure_future(client.gql(CREATE_CODE, token=second.token))
        await until_waiting(under_way)
        await db.execute(
            "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER'"
            " WHERE id = $1",
            UUID(second.session_id),
        )
    response = await under_way
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"
    assert await db.fetchval("SELECT count(*) FROM link_codes WHERE redeemed_at IS NULL") == 0


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'SIGNED_OUT' WHERE id = $1",
        "UPDATE user_sessions SET last_active_at = now() - interval '40 d' WHERE id = $1",
        "UPDATE link_codes SET expires_at = now() WHERE session_id = $1",
    ],
    ids=["maker revoked", "maker idle", "code late"],
)
async def test_what_ends_a_code_while_it_waits_to_be_redeemed_counts(
    client: Any, db: Any, until_waiting: Any, end: str
) -> None:
    """It was found open; under the lock it is looked at again."""
    guest = await client.guest()
    code = await client.link_code(guest)
    async with db.transaction():
        await db.execute("SELECT FROM users FOR UPDATE")
        under_way = asyncio.ensure_future(client.redeem(code))
        await until_waiting(under_way)
        await db.execute(end, UUID(guest.session_id))
    created = await under_way
    assert [error["code"] for error in created["userErrors"]] == ["INVALID_CREDENTIALS"]
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 1


@pytest.mark.parametrize("key", [None, "k3y-Wx7pQ2mN8vB4cD6fG1hJ"], ids=["plain", "a retry"])
async def test_a_caller_whose_session_ends_meanwhile_redeems_nothing(
    client: Any, db: Any, until_waiting: Any, key: str | None
) -> None:
    owner, caller = await client.guest(), await client.guest()
    code = await client.link_code(owner)
    more = {"idempotencyKey": key} if key else {}
    if key:
        await client.redeem(code, **more)
    sessions = await db.fetchval("SELECT count(*) FROM user_sessions")
    given = {"credentials": {"linkCode": {"code": code}}} | more
    query = "mutation($i: CreateSessionInput) { createSession(input: $i) { token } }"
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(caller.user_id))
        under_way = asyncio.ensure_future(client.gql(query, token=caller.token, i=given))
        await until_waiting(under_way)
        await db.execute(
            "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'SIGNED_OUT'"
            " WHERE id = $1",
            UUID(caller.session_id),
        )
    response = await under_way
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == sessions


async def test_a_code_of_an_ended_session_takes_no_place(client: Any) -> None:
    guest = await client.guest()
    other = await client.device(guest)
    for _ in range(3):
        await client.link_code(other)
    await client.data(
        "mutation($id: ID) { revokeSession(id: $id) { status } }",
        token=guest.token,
        id=other.session_id,
    )
    assert await client.link_code(guest)
