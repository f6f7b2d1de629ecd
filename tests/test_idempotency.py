"""idempotencyKey: a retry finds what the first request made, and nobody else does."""

import asyncio
from typing import Any

import pytest

from auth import codes

KEY = "k3y-Wx7pQ2mN8vB4cD6fG1hJ"
OTHER = "another-key-of-the-same-kind"
CREATE = """mutation($input: CreateSessionInput!) { createSession(input: $input) {
    token session { id label user { id } } userErrors { code path } } }"""


async def create(client: Any, *, token: str | None = None, **given: Any) -> Any:
    return (await client.data(CREATE, token=token, input=given))["createSession"]


def refused(payload: Any, code: str) -> None:
    assert (payload["token"], payload["session"]) == (None, None)
    (error,) = payload["userErrors"]
    assert error["code"] == code


async def counts(db: Any) -> list[int]:
    return [
        await db.fetchval(f"SELECT count(*) FROM {table}")
        for table in ("users", "user_sessions", "idempotency_keys")
    ]


async def test_a_retry_gives_the_same_session_with_a_fresh_token(client: Any, db: Any) -> None:
    first = await create(client, idempotencyKey=KEY)
    again = await create(client, idempotencyKey=KEY)
    assert again["session"] == first["session"]
    assert again["token"] != first["token"]
    for payload in (first, again):
        assert await client.data("{ viewer { id } }", token=payload["token"])
    assert await counts(db) == [1, 1, 1]


async def test_retries_at_once_make_one_guest(start_app: Any, db: Any) -> None:
    workers = [await start_app() for _ in range(2)]
    made = await asyncio.gather(
        *(create(workers[n % 2], idempotencyKey=KEY, label="phone") for n in range(16))
    )
    assert len({payload["session"]["id"] for payload in made}) == 1
    assert len({payload["token"] for payload in made}) == 16
    assert await counts(db) == [1, 1, 1]


async def test_another_key_is_another_guest(client: Any, db: Any) -> None:
    first = await create(client, idempotencyKey=KEY)
    other = await create(client, idempotencyKey=OTHER)
    assert first["session"]["user"]["id"] != other["session"]["user"]["id"]
    assert await counts(db) == [2, 2, 2]


async def test_the_key_is_stored_hashed_only(client: Any, db: Any) -> None:
    await create(client, idempotencyKey=KEY)
    assert KEY not in str(await db.fetch("SELECT * FROM idempotency_keys"))


@pytest.mark.parametrize("key", ["", "x" * 21, "x" * 129, "with blanks in between them", "ä" * 30])
async def test_what_is_no_key_is_mendable_and_changes_nothing(
    client: Any, db: Any, key: str
) -> None:
    payload = await create(client, idempotencyKey=key)
    refused(payload, "INVALID_IDEMPOTENCY_KEY")
    assert payload["userErrors"][0]["path"] == ["input", "idempotencyKey"]
    assert await counts(db) == [0, 0, 0]


@pytest.mark.parametrize("key", ["x" * 22, "x" * 128, "!" * 40])
async def test_the_shortest_and_the_longest_key_are_keys(client: Any, key: str) -> None:
    assert (await create(client, idempotencyKey=key))["token"]


async def test_another_request_under_the_same_key_is_refused(client: Any, db: Any) -> None:
    guest = await client.guest()
    code = await client.link_code(guest)
    await create(client, idempotencyKey=KEY, label="one")
    before = await counts(db)
    refused(await create(client, idempotencyKey=KEY, label="two"), "IDEMPOTENCY_CONFLICT")
    refused(await create(client, idempotencyKey=KEY), "IDEMPOTENCY_CONFLICT")
    linked = await create(
        client, idempotencyKey=KEY, label="one", credentials={"linkCode": {"code": code}}
    )
    refused(linked, "IDEMPOTENCY_CONFLICT")
    assert await counts(db) == before
    assert (await client.redeem(code))["token"]


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'SIGNED_OUT'",
        "UPDATE user_sessions SET last_active_at = now() - interval '40 d'",
        "DELETE FROM user_sessions",
        "UPDATE users SET disabled_at = now()",
    ],
    ids=["revoked", "idle", "deleted", "disabled"],
)
async def test_one_whose_session_has_ended_is_never_revived(client: Any, db: Any, end: str) -> None:
    await create(client, idempotencyKey=KEY)
    await db.execute(end)
    before = await counts(db)
    refused(await create(client, idempotencyKey=KEY), "IDEMPOTENCY_ENDED")
    assert await counts(db) == before


async def test_after_ten_minutes_the_key_is_free(client: Any, db: Any) -> None:
    first = await create(client, idempotencyKey=KEY)
    await db.execute("UPDATE idempotency_keys SET created_at = now() - interval '9 min 50 s'")
    assert (await create(client, idempotencyKey=KEY))["session"] == first["session"]
    await db.execute("UPDATE idempotency_keys SET created_at = now() - interval '10 min 1 s'")
    later = await create(client, idempotencyKey=KEY)
    assert later["session"]["id"] != first["session"]["id"]
    assert (await create(client, idempotencyKey=KEY))["session"] == later["session"]


async def test_what_was_refused_under_a_key_leaves_it_free(client: Any, db: Any) -> None:
    guest = await client.guest()
    wrong = {"linkCode": {"code": codes.new_link_code()}}
    refused(await create(client, idempotencyKey=KEY, credentials=wrong), "INVALID_CREDENTIALS")
    right = {"linkCode": {"code": await client.link_code(guest)}}
    assert (await create(client, idempotencyKey=KEY, credentials=right))["token"]
    assert (await counts(db))[2] == 1


async def test_a_code_spent_under_this_key_counts_for_its_retry_only(client: Any, db: Any) -> None:
    guest = await client.guest()
    code = {"linkCode": {"code": await client.link_code(guest)}}
    first = await create(client, idempotencyKey=KEY, credentials=code)
    again = await create(client, idempotencyKey=KEY, credentials=code)
    assert again["session"] == first["session"]
    refused(await create(client, credentials=code), "INVALID_CREDENTIALS")
    refused(await create(client, idempotencyKey=OTHER, credentials=code), "INVALID_CREDENTIALS")
    await create(client, idempotencyKey=OTHER)
    refused(await create(client, idempotencyKey=OTHER, credentials=code), "INVALID_CREDENTIALS")
    await db.execute("UPDATE link_codes SET expires_at = now() - interval '4 min'")
    late = await create(client, idempotencyKey=KEY, credentials=code)
    assert late["session"] == first["session"]


async def test_a_key_answers_nobody_who_cannot_sign_in(client: Any) -> None:
    guest = await client.guest()
    code = {"linkCode": {"code": await client.link_code(guest)}}
    await create(client, idempotencyKey=KEY, credentials=code)
    wrong = {"linkCode": {"code": codes.new_link_code()}}
    refused(await create(client, idempotencyKey=KEY, credentials=wrong), "INVALID_CREDENTIALS")


async def test_another_open_code_of_the_same_user_is_the_same_request(client: Any) -> None:
    guest = await client.guest()
    made = [{"linkCode": {"code": await client.link_code(guest)}} for _ in range(2)]
    first, second = [
        await create(client, idempotencyKey=KEY, credentials=credentials) for credentials in made
    ]
    assert first["session"] == second["session"]


async def test_retries_with_a_code_at_once_make_one_session(client: Any, db: Any) -> None:
    guest = await client.guest()
    code = {"linkCode": {"code": await client.link_code(guest)}}
    made = await asyncio.gather(
        *(create(client, idempotencyKey=KEY, credentials=code) for _ in range(8))
    )
    assert len({payload["session"]["id"] for payload in made}) == 1
    assert (await counts(db))[1] == 2


async def test_a_retry_is_no_second_guest_for_the_limit(start_app: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=1)
    first = await create(client, idempotencyKey=KEY)
    assert (await create(client, idempotencyKey=KEY))["session"] == first["session"]


async def test_what_serves_no_more_is_cleaned_up(client: Any, db: Any, clean_up: Any) -> None:
    guest = await client.guest()
    spent = {"linkCode": {"code": await client.link_code(guest)}}
    await create(client, idempotencyKey=KEY, credentials=spent)
    await client.link_code(guest)
    await db.execute("UPDATE link_codes SET expires_at = now() - interval '1 s'")
    await clean_up()
    kept = "SELECT count(*) FROM link_codes WHERE redeemed_at IS NOT NULL"
    assert await db.fetchval("SELECT count(*) FROM link_codes") == await db.fetchval(kept) == 1
    assert (await create(client, idempotencyKey=KEY, credentials=spent))["token"]
    await db.execute("UPDATE link_codes SET redeemed_at = now() - interval '11 min'")
    await db.execute("UPDATE idempotency_keys SET created_at = now() - interval '11 min'")
    await clean_up()
    assert await db.fetchval("SELECT count(*) FROM link_codes") == 0
    assert (await counts(db))[2] == 0
