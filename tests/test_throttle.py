"""Throttling of guesses: shared by all workers, before hashing, and never against the owner."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from auth import passwords, throttle
from db.users import NAME_KEY

WRONG = "four quiet herons argue"
PROXIES = {"TRUSTED_PROXIES": ("127.0.0.1",)}
SIGN_IN = """mutation($u: String!, $p: String!) {
  createSession(input: {credentials: {password: {username: $u, password: $p}}}) {
    token userErrors { code } } }"""
AGAIN = """mutation($u: String!, $p: String!) {
  reauthenticate(credentials: {password: {username: $u, password: $p}}) {
    token userErrors { code } } }"""
CLAIM = """mutation($u: String!, $p: String!) {
  claimAccount(username: $u, password: $p) { token } }"""
REDEEM = """mutation($code: String!) {
  createSession(input: {credentials: {linkCode: {code: $code}}}) { token } }"""
CHANGE = """mutation($p: String) {
  changePassword(currentPassword: $p, newPassword: "a quite different one") {
    token userErrors { code } } }"""
RIGHT = "seven odd otters juggle"
OWN, FOREIGN = "203.0.113.7", "198.51.100.9"


async def guess(client: Any, username: str, password: str = WRONG, network: str = FOREIGN) -> int:
    """The status of a try to sign in from a network."""
    headers = {"X-Forwarded-For": network}
    response = await client.gql(SIGN_IN, headers=headers, u=username, p=password)
    if response.status_code == 429:
        assert int(response.headers["Retry-After"]) > 0
        assert response.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    return int(response.status_code)


async def signs_in(client: Any, network: str) -> bool:
    """Whether the owner gets in from a network."""
    headers = {"X-Forwarded-For": network}
    response = await client.gql(SIGN_IN, headers=headers, u="magnolia", p=RIGHT)
    return bool(response.status_code == 200 and response.json()["data"]["createSession"]["token"])


@pytest.mark.parametrize("username", ["magnolia", "nobody"])
async def test_a_pair_of_account_and_network_has_ten_guesses(start_app: Any, username: str) -> None:
    """An unknown account alike; however its case is written."""
    workers = [await start_app(**PROXIES) for _ in range(2)]
    await workers[0].account("magnolia")
    spelt = (username, username.upper())
    made = [await guess(workers[n % 2], spelt[n % 2]) for n in range(12)]
    assert made == [200] * 10 + [429] * 2
    assert await guess(workers[0], "another") == 200
    assert await guess(workers[0], username, network="203.0.113.200") == 200


async def test_a_name_has_no_other_spellings_than_those_that_count_as_its_own(
    start_app: Any, unicode_database_url: str
) -> None:
    """PostgreSQL has the small letter of U+0130 as i where the database's locale is not C."""
    client = await start_app(DATABASE_URL=SecretStr(unicode_database_url))
    await client.account("mimi_kay")
    assert (await client.sign_in("MIMI_KAY"))["token"]
    for spelt in ("m\u0130m\u0130_kay", "mimi_\u212aay"):
        assert (await client.sign_in(spelt))["token"] is None
    assert "usernames_pkey" in await client.services.database.read(look_up_plan)


async def look_up_plan(db: Any) -> str:
    """How PostgreSQL finds a name, in a table of any size."""
    await db.execute(text("SET enable_seqscan = off"))
    found = f"EXPLAIN SELECT FROM usernames WHERE username_key = {NAME_KEY}"
    return str((await db.execute(text(found), {"username": "x"})).all())


async def test_guesses_at_once_are_counted_exactly(start_app: Any) -> None:
    workers = [await start_app(**PROXIES) for _ in range(2)]
    made = await asyncio.gather(*(guess(workers[n % 2], "nobody") for n in range(24)))
    assert sorted(made) == [200] * 10 + [429] * 14


async def test_what_is_over_the_limit_is_not_hashed(
    start_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start_app(**PROXIES)
    hashed: list[str] = []
    right = passwords.is_right

    def spied(typed: str, known: str) -> bool:
        hashed.append(known)
        return right(typed, known)

    monkeypatch.setattr(passwords, "is_right", spied)
    for _ in range(13):
        await guess(client, "nobody")
    assert len(hashed) == 10


async def test_a_right_answer_is_no_guess(start_app: Any) -> None:
    client = await start_app(**PROXIES)
    await client.account("magnolia")
    assert [await signs_in(client, OWN) for _ in range(14)] == [True] * 14


async def test_the_right_password_of_a_disabled_user_is_a_guess_like_any_other(
    start_app: Any, db: Any, statements: list[str]
) -> None:
    """Or whoever guessed it would be told by what is counted and done after it."""
    client = await start_app(**PROXIES)
    await client.account("magnolia")
    await db.execute("UPDATE users SET disabled_at = now()")
    sent: list[list[str]] = []
    for password in (WRONG, RIGHT):
        statements.clear()
        await guess(client, "magnolia", password, network=OWN)
        sent.append(statements[:])
    assert sent[0] == sent[1]
    made = [await guess(client, "magnolia", RIGHT) for _ in range(12)]
    assert made == [200] * 10 + [429] * 2


async def test_a_network_has_a_limit_of_its_own(start_app: Any) -> None:
    client = await start_app(LOGIN_RATE_LIMIT=5, **PROXIES)
    made = [await guess(client, f"nobody{n}") for n in range(7)]
    assert made == [200] * 5 + [429] * 2
    assert await guess(client, "nobody9", network=OWN) == 200
    headers = {"X-Forwarded-For": FOREIGN}
    nonce = await client.gql("mutation { createLoginNonce { nonce } }", headers=headers)
    assert nonce.status_code == 429
    code = await client.gql(
        'mutation { createSession(input: {credentials: {linkCode: {code: "x"}}}) { token } }',
        headers=headers,
    )
    assert code.status_code == 429


async def test_an_ipv6_network_is_a_64(start_app: Any) -> None:
    client = await start_app(LOGIN_RATE_LIMIT=2, **PROXIES)
    made = [await guess(client, "nobody", network=f"2001:db8:1:2::{n}") for n in range(3)]
    assert made == [200, 200, 429]
    assert await guess(client, "nobody", network="2001:db8:1:3::1") == 200


async def test_guesses_from_many_networks_never_lock_the_owner_out(
    start_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "ACCOUNT_LIMIT", 20)
    client = await start_app(**PROXIES)
    await client.account("magnolia")
    assert await signs_in(client, OWN)
    made = [await guess(client, "magnolia", network=f"198.51.100.{n}") for n in range(30)]
    assert made == [200] * 20 + [429] * 10
    assert not await signs_in(client, "192.0.2.1")  # a network that nobody knows
    assert await signs_in(client, OWN)


@pytest.mark.parametrize("way", ["claim", "reauthenticate", "link code"])
async def test_whoever_had_a_session_of_an_account_is_not_locked_out_of_it(
    start_app: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Whose it is was proved there, although no password has signed in from there."""
    monkeypatch.setattr(throttle, "ACCOUNT_LIMIT", 5)
    client = await start_app(**PROXIES)
    home = {"X-Forwarded-For": OWN}
    guest = await client.guest()
    claimed = await client.gql(
        CLAIM, token=guest.token, headers=home if way == "claim" else {}, u="magnolia", p=RIGHT
    )
    token = claimed.json()["data"]["claimAccount"]["token"]
    if way == "reauthenticate":
        await client.gql(AGAIN, token=token, headers=home, u="magnolia", p=RIGHT)
    elif way == "link code":
        made = await client.data("mutation { createLinkCode { code } }", token=token)
        await client.gql(REDEEM, headers=home, code=made["createLinkCode"]["code"])
    for n in range(10):
        await guess(client, "magnolia", network=f"198.51.100.{n}")
    assert not await signs_in(client, "192.0.2.1")
    assert await signs_in(client, OWN)


async def test_a_guest_has_no_known_network(client: Any, db: Any) -> None:
    """Whoever planted a guest's session would be known to the account that it becomes."""
    await client.device(await client.guest())
    assert await db.fetchval("SELECT count(*) FROM known_networks") == 0


async def test_one_network_does_not_fill_the_counter_of_an_account(
    start_app: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the database, with counters of names that it makes up once it is refused."""
    monkeypatch.setattr(throttle, "ACCOUNT_LIMIT", 20)
    client = await start_app(LOGIN_RATE_LIMIT=40, **PROXIES)
    await client.account("magnolia")
    made = [await guess(client, "magnolia") for _ in range(30)]
    assert made == [200] * 10 + [429] * 20
    assert await signs_in(client, OWN)
    assert {await guess(client, f"nobody{n}") for n in range(10)} == {200}
    counters = await db.fetchval("SELECT count(*) FROM rate_counts")
    assert {await guess(client, f"nobody{n}") for n in range(10, 20)} == {429}
    assert await db.fetchval("SELECT count(*) FROM rate_counts") == counters


async def test_a_network_is_forgotten_after_90_days(
    start_app: Any, db: Any, clean_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "ACCOUNT_LIMIT", 3)
    client = await start_app(**PROXIES)
    await client.account("magnolia")
    assert await signs_in(client, OWN)
    for n in range(5):
        await guess(client, "magnolia", network=f"198.51.100.{n}")
    await db.execute("UPDATE known_networks SET last_success_at = now() - interval '91 d'")
    assert not await signs_in(client, OWN)
    account = await client.account("begonia")
    await clean_up()
    kept = await db.fetch("SELECT user_id FROM known_networks")
    assert [str(row["user_id"]) for row in kept] == [account.user_id]


async def test_a_live_session_has_a_counter_of_its_own(start_app: Any) -> None:
    client = await start_app(LOGIN_RATE_LIMIT=20, **PROXIES)
    account = await client.account("magnolia")
    for _ in range(25):
        await guess(client, "magnolia")
    variables = {"u": "magnolia", "p": WRONG}
    made = [
        (await client.gql(AGAIN, token=account.token, **variables)).status_code for _ in range(12)
    ]
    assert made == [200] * 10 + [429] * 2
    other = await start_app(**PROXIES)
    assert await signs_in(other, OWN)


async def test_within_a_session_no_other_password_than_its_own_is_verified(
    client: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or guests, of whom there are as many as one likes, would guess beside the counters."""
    account, guest = await client.account("magnolia"), await client.guest()
    name = await db.fetchval("SELECT username FROM users WHERE is_guest")
    await client.account("begonia")
    hashed: list[str] = []
    right = passwords.is_right

    def spied(typed: str, known: str) -> bool:
        hashed.append(typed)
        return right(typed, known)

    monkeypatch.setattr(passwords, "is_right", spied)
    for token, username in (
        *((guest.token, name), (guest.token, "magnolia"), (account.token, "begonia")),
        (account.token, "nobody"),
    ):
        told = await client.data(AGAIN, token=token, u=username, p=RIGHT)
        assert told["reauthenticate"]["userErrors"] == [{"code": "INVALID_CREDENTIALS"}]
    assert hashed == []


async def test_every_try_to_change_a_password_counts(client: Any) -> None:
    """With the current one or without."""
    account = await client.account("magnolia")
    tried = [{"p": WRONG}, {}] * 6
    made = [(await client.gql(CHANGE, token=account.token, **v)).status_code for v in tried]
    assert made == [200] * 10 + [429] * 2


async def test_what_was_typed_is_not_written_down(client: Any, db: Any) -> None:
    await client.sign_in("a password typed as name", "x")
    assert "typed as name" not in str(await db.fetch("SELECT * FROM rate_counts"))
