"""Accounts with a password: claimed by a guest, signed in to, changed, proven again, deleted."""

import asyncio
import unicodedata
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher

from auth import passwords

PASSWORD = "seven odd otters juggle"
OTHER = "four quiet herons argue"
ME = "{ viewer { id username isGuest } }"
PAYLOAD = "{ token session { id label authenticatedAt } userErrors { code message path } }"
CLAIM = f"""mutation($username: String!, $password: String!, $others: Boolean! = true) {{
  claimAccount(username: $username, password: $password, revokeOthers: $others) {PAYLOAD} }}"""
CHANGE = f"""mutation($current: String, $new: String!) {{
  changePassword(currentPassword: $current, newPassword: $new) {PAYLOAD} }}"""
AGAIN = f"""mutation($c: CredentialsInput!) {{ reauthenticate(credentials: $c) {PAYLOAD} }}"""
DELETE = """mutation($name: String!) {
  deleteAccount(confirmUsername: $name) { deleted userErrors { code path } } }"""


async def claim(
    client: Any, guest: Any, username: str, password: str = PASSWORD, **more: Any
) -> Any:
    sent = {"username": username, "password": password} | more
    return (await client.data(CLAIM, token=guest.token, **sent))["claimAccount"]


async def change(client: Any, token: str, current: str | None, new: str = OTHER) -> Any:
    sent = await client.data(CHANGE, token=token, current=current, new=new)
    return sent["changePassword"]


def refused(payload: Any, code: str, *path: str) -> None:
    assert (payload["token"], payload["session"]) == (None, None)
    (error,) = payload["userErrors"]
    assert (error["code"], error["path"]) == (code, list(path) or None)
    assert error["message"]


async def reason(client: Any, token: str) -> str:
    """Why a token's session was revoked."""
    told = (await client.gql(ME, token=token)).json()["errors"][0]["extensions"]
    assert told["reason"] == "SESSION_REVOKED"
    return str(told["revokedReason"])


async def grow_old(db: Any, session_id: str, minutes: int = 11) -> None:
    """Makes a session's proof so old."""
    await db.execute(
        "UPDATE user_sessions SET authenticated_at = now() - $2 * interval '1 min' WHERE id = $1",
        UUID(session_id),
        minutes,
    )


# Claiming.


async def test_a_guest_becomes_an_account_with_the_same_id(client: Any, db: Any) -> None:
    guest = await client.guest()
    label = await db.fetchval("SELECT label FROM user_sessions")
    claimed = await claim(client, guest, "Magnolia_7")
    assert claimed["userErrors"] == []
    assert claimed["session"]["id"] != guest.session_id
    assert claimed["session"]["label"] == label
    seen = (await client.data(ME, token=claimed["token"]))["viewer"]
    assert seen == {"id": guest.user_id, "username": "Magnolia_7", "isGuest": False}
    assert await reason(client, guest.token) == "SUPERSEDED"
    assert await db.fetchval("SELECT count(*) FROM usernames") == 1
    stored = await db.fetchval("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in str(await db.fetch("SELECT * FROM users"))


async def test_nothing_that_was_planted_rides_into_an_account(client: Any) -> None:
    guest = await client.guest()
    planted = await client.device(guest)
    code = await client.link_code(planted)
    claimed = await claim(client, guest, "magnolia")
    assert await reason(client, planted.token) == "CREDENTIAL_CHANGED"
    assert (await client.redeem(code))["token"] is None
    listed = await client.data("{ mySessions { id } }", token=claimed["token"])
    assert len(listed["mySessions"]) == 1


async def test_others_stay_where_that_was_asked_for(client: Any) -> None:
    guest = await client.guest()
    other = await client.device(guest)
    await claim(client, guest, "magnolia", others=False)
    assert (await client.data(ME, token=other.token))["viewer"]["username"] == "magnolia"
    assert await reason(client, guest.token) == "SUPERSEDED"


async def test_an_account_cannot_be_claimed_again(client: Any, db: Any) -> None:
    account = await client.account("magnolia")
    refused(await claim(client, account, "begonia"), "ALREADY_CLAIMED")
    assert (await client.data(ME, token=account.token))["viewer"]["username"] == "magnolia"
    assert await db.fetchval("SELECT count(*) FROM usernames") == 1


async def test_a_name_is_taken_in_whatever_case(client: Any) -> None:
    await client.account("Magnolia")
    guest = await client.guest()
    refused(await claim(client, guest, "mAGNOLIA"), "USERNAME_TAKEN", "username")
    assert (await client.data(ME, token=guest.token))["viewer"]["isGuest"] is True


async def test_of_parallel_claims_of_a_name_one_succeeds(client: Any) -> None:
    guests = [await client.guest() for _ in range(6)]
    made = await asyncio.gather(*(claim(client, guest, "magnolia") for guest in guests))
    assert [bool(payload["token"]) for payload in made].count(True) == 1


@pytest.mark.parametrize(
    "name",
    [
        "", "ab", "x" * 65, "with blank", "ä" * 5, "magn\u043elia", "a/b", "a@b", "tab\t", "...",
        "Admin", "ROOT", "bigtwo", "amber-otter", "Amber-Otter-1234", "amber-otter-12345678",
    ],
)  # fmt: skip
async def test_what_is_no_name_is_mendable(client: Any, name: str) -> None:
    guest = await client.guest()
    refused(await claim(client, guest, name), "INVALID_USERNAME", "username")
    assert (await client.gql(ME, token=guest.token)).status_code == 200


@pytest.mark.parametrize("name", ["abc", "x" * 64, "A.b-c_9", "amber-otter-x", "amber_otter"])
async def test_the_shortest_and_the_longest_name_are_names(client: Any, name: str) -> None:
    assert (await claim(client, await client.guest(), name))["token"]


# Passwords.


@pytest.mark.parametrize(
    "password",
    [
        "", "x" * 14, "short of it all", "a" * 15, "x" * 257, "passwordpassword",
        "password1234567890", "Password!!!!!!!!!", "qwertyqwertyqwerty", "123456789123456789",
        "iloveyouiloveyou", "magnoliamagnolia", "magnolia-magnolia-1", "BigTwo-Sessions-26",
        "bigtwobigtwobigtwo1",
    ],
)  # fmt: skip
async def test_a_password_that_is_guessed_soon_is_refused(client: Any, password: str) -> None:
    guest = await client.guest()
    if password == "short of it all":  # which has exactly fifteen characters
        assert (await claim(client, guest, "magnolia", password))["token"]
    else:
        refused(await claim(client, guest, "magnolia", password), "INVALID_PASSWORD", "password")


@pytest.mark.parametrize(
    "password", ["x9" + "ab3" * 84, "83920174650182736455", "correct horse battery", "äöü" * 6]
)
async def test_long_odd_and_foreign_ones_are_passwords(client: Any, password: str) -> None:
    await client.account("magnolia", password)
    assert (await client.sign_in("magnolia", password))["token"]


async def test_the_same_characters_from_two_keyboards_are_one_password(client: Any) -> None:
    await client.account("magnolia", "e\u0301tude pour quatre mains")
    assert (await client.sign_in("magnolia", "\u00e9tude pour quatre mains"))["token"]


async def test_the_longest_password_may_be_typed_mark_by_mark(client: Any) -> None:
    longest = "\u1f82\u1f83" * 128
    await client.account("magnolia", unicodedata.normalize("NFD", longest))
    assert (await client.sign_in("magnolia", longest))["token"]


async def test_marks_without_end_are_not_sorted(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30,000 of them take a second, in which the interpreter does nothing else."""
    sorted_ones: list[int] = []
    normalize = unicodedata.normalize

    def spied(form: Any, text: str) -> str:
        sorted_ones.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", spied)
    marks = "e" + "\u0300\u0323" * 5000
    account = await client.account("magnolia")
    refused(
        await claim(client, await client.guest(), "begonia", marks), "INVALID_PASSWORD", "password"
    )
    refused(await client.sign_in("magnolia", marks), "INVALID_CREDENTIALS", "input", "credentials")
    refused(await change(client, account.token, marks), "INVALID_CREDENTIALS", "currentPassword")
    assert max(sorted_ones) <= 1024


async def test_a_shorter_minimum_is_an_operators_choice(start_app: Any) -> None:
    client = await start_app(PASSWORD_MIN_LENGTH=8)
    await client.account("magnolia", "odd otter")


# Signing in.


async def test_whoever_knows_the_password_signs_in(client: Any) -> None:
    account = await client.account("Magnolia")
    created = await client.sign_in("magNOLIA")
    assert created["session"]["user"]["id"] == account.user_id
    assert (await client.data(ME, token=created["token"]))["viewer"]["username"] == "Magnolia"


async def test_unknown_wrong_and_disabled_read_the_same(client: Any, db: Any) -> None:
    await client.account("magnolia")
    await client.account("begonia")
    await db.execute("UPDATE users SET disabled_at = now() WHERE username = 'begonia'")
    guest = await client.guest()
    name = await db.fetchval("SELECT username FROM users WHERE id = $1", UUID(guest.user_id))
    told = [
        await client.sign_in(*tried)
        for tried in (
            ("nobody", PASSWORD),
            ("magnolia", OTHER),
            ("begonia", PASSWORD),
            (name, PASSWORD),
            ("magnolia", ""),
            ("", ""),
            (name, ""),
        )
    ]
    assert all(answer == told[0] for answer in told)
    refused(told[0] | {"session": None}, "INVALID_CREDENTIALS", "input", "credentials")


async def test_a_login_under_way_fails_when_the_password_changes(
    client: Any, db: Any, until_waiting: Any
) -> None:
    """Verified against the old hash, it waits for the lock that the change holds."""
    account = await client.account("magnolia")
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(account.user_id))
        signing_in = asyncio.ensure_future(client.sign_in("magnolia"))
        await until_waiting(signing_in)
        await db.execute("UPDATE users SET password_hash = $1", passwords.HASHER.hash(OTHER))
    refused(await signing_in, "INVALID_CREDENTIALS", "input", "credentials")


async def test_a_login_under_way_fails_when_the_user_is_disabled(
    client: Any, db: Any, until_waiting: Any
) -> None:
    account = await client.account("magnolia")
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(account.user_id))
        signing_in = asyncio.ensure_future(client.sign_in("magnolia"))
        await until_waiting(signing_in)
        await db.execute("UPDATE users SET disabled_at = now()")
    refused(await signing_in, "INVALID_CREDENTIALS", "input", "credentials")


async def test_a_hash_of_older_parameters_is_renewed_at_the_next_sign_in(
    client: Any, db: Any
) -> None:
    await client.account("magnolia")
    old = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    await db.execute("UPDATE users SET password_hash = $1", old)
    assert (await client.sign_in("magnolia"))["token"]
    assert "m=19456,t=2" in await db.fetchval("SELECT password_hash FROM users")
    assert (await client.sign_in("magnolia"))["token"]


async def test_of_sign_ins_at_once_that_renew_a_hash_none_is_refused(client: Any, db: Any) -> None:
    await client.account("magnolia")
    old = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    await db.execute("UPDATE users SET password_hash = $1", old)
    made = await asyncio.gather(*(client.sign_in("magnolia") for _ in range(4)))
    assert all(payload["token"] for payload in made)


async def test_no_connection_is_held_while_a_password_is_hashed(
    start_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start_app(DATABASE_POOL_SIZE=1)
    await client.account("magnolia")
    free: list[bool] = []
    right = passwords.is_right

    def spied(typed: str, known: str) -> bool:
        free.append(client.services.database.engine.pool.checkedout() == 0)
        return right(typed, known)

    monkeypatch.setattr(passwords, "is_right", spied)
    await client.sign_in("magnolia")
    assert free == [True]


async def test_a_full_queue_is_429(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAITING", -passwords.AT_ONCE)
    response = await client.gql(CLAIM, token=(await client.guest()).token, username="magnolia",
                                password=PASSWORD)  # fmt: skip
    assert response.status_code == 429
    assert response.headers["Retry-After"]


# Changing it.


async def test_a_change_ends_the_others_and_answers_a_new_session(client: Any) -> None:
    account = await client.account("magnolia")
    other = (await client.sign_in("magnolia"))["token"]
    code = await client.link_code(account)
    changed = await change(client, account.token, PASSWORD)
    assert changed["userErrors"] == []
    assert await reason(client, account.token) == "SUPERSEDED"
    assert await reason(client, other) == "CREDENTIAL_CHANGED"
    assert (await client.redeem(code))["token"] is None
    assert (await client.sign_in("magnolia", PASSWORD))["token"] is None
    assert (await client.sign_in("magnolia", OTHER))["token"]


@pytest.mark.parametrize("current", [OTHER, "", None])
async def test_without_the_current_password_nothing_changes(
    client: Any, db: Any, current: str | None
) -> None:
    account = await client.account("magnolia")
    before = await db.fetchval("SELECT password_hash FROM users")
    refused(await change(client, account.token, current), "INVALID_CREDENTIALS", "currentPassword")
    assert await db.fetchval("SELECT password_hash FROM users") == before
    assert (await client.gql(ME, token=account.token)).status_code == 200


async def test_of_two_changes_at_once_one_succeeds(client: Any) -> None:
    await client.account("magnolia")
    tokens = [(await client.sign_in("magnolia"))["token"] for _ in range(2)]
    answers = await asyncio.gather(
        *(client.gql(CHANGE, token=token, current=PASSWORD, new=OTHER) for token in tokens)
    )
    made = [(answer.json().get("data") or {}).get("changePassword") for answer in answers]
    assert [bool(payload and payload["token"]) for payload in made].count(True) == 1


async def test_who_came_back_by_an_operators_code_sets_a_password_without_the_old_one(
    client: Any, db: Any
) -> None:
    account = await client.account("magnolia")
    code = await client.link_code(account)
    await db.execute("UPDATE link_codes SET session_id = NULL")
    back = (await client.redeem(code))["token"]
    assert (await change(client, back, None))["token"]
    assert (await client.sign_in("magnolia", OTHER))["token"]


async def test_but_not_any_more_when_that_is_some_time_ago(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_FRESH_FOR=0)
    account = await client.account("magnolia")
    code = await client.link_code(account)
    await db.execute("UPDATE link_codes SET session_id = NULL")
    back = await client.redeem(code)
    await grow_old(db, back["session"]["id"])
    refused(await change(client, back["token"], None), "INVALID_CREDENTIALS", "currentPassword")


async def test_an_ordinary_code_is_no_recovery(client: Any) -> None:
    account = await client.account("magnolia")
    other = await client.device(account)
    refused(await change(client, other.token, None), "INVALID_CREDENTIALS", "currentPassword")


async def test_a_guest_has_no_password_to_change(client: Any, db: Any) -> None:
    guest = await client.guest()
    refused(await change(client, guest.token, None), "INVALID_CREDENTIALS")
    assert await db.fetchval("SELECT password_hash FROM users") is None


async def test_nothing_is_hashed_for_a_guest_who_changes_a_password(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fills the queue keeps everybody else from signing in."""
    monkeypatch.setattr(passwords, "WAITING", -passwords.AT_ONCE)
    guest = await client.guest()
    refused(await change(client, guest.token, None), "INVALID_CREDENTIALS")
    refused(await change(client, guest.token, PASSWORD), "INVALID_CREDENTIALS")


# A fresh proof.

DANGEROUS = {
    "changePassword": (
        f'changePassword(currentPassword: "{PASSWORD}", newPassword: "{OTHER}") {PAYLOAD}'
    ),
    "deleteAccount": 'deleteAccount(confirmUsername: "magnolia") { deleted }',
    "linkIdentity": f'linkIdentity(idToken: {{token: "x"}}) {PAYLOAD}',
    "unlinkIdentity": f'unlinkIdentity(id: "x") {PAYLOAD}',
    "createLinkCode": "createLinkCode { code }",
    "revokeSession": 'revokeSession(id: "01900000-0000-7000-8000-000000000000") { status }',
    "revokeOtherSessions": "revokeOtherSessions { revokedCount }",
    "revokeAllSessions": "revokeAllSessions { revokedCount }",
    "revokeSessions": "revokeSessions(filter: {isGuest: true}) { revokedCount }",
    "setUserDisabled": 'setUserDisabled(id: "x", disabled: true) { status }',
}


@pytest.mark.parametrize("name", DANGEROUS)
async def test_a_dangerous_act_needs_a_fresh_proof(client: Any, db: Any, name: str) -> None:
    account = await client.account("magnolia")
    await db.execute("UPDATE users SET role = 'ADMIN'")
    await grow_old(db, account.session_id)
    before = await db.fetch("SELECT * FROM users"), await db.fetch("SELECT * FROM user_sessions")
    response = await client.gql(f"mutation {{ {DANGEROUS[name]} }}", token=account.token)
    assert (response.status_code, response.json()["data"]) == (200, None)
    told = response.json()["errors"][0]["extensions"]
    assert (told["code"], told["maxAge"]) == ("REAUTHENTICATION_REQUIRED", 600)
    assert "reauthenticate" in told["hint"]
    after = await db.fetch("SELECT * FROM users"), await db.fetch("SELECT * FROM user_sessions")
    assert after == before


async def test_signing_out_and_what_is_harmless_need_none(client: Any, db: Any) -> None:
    account = await client.account("magnolia")
    await grow_old(db, account.session_id)
    for field in (
        "refreshSession { token }",
        f'renameSession(id: "{account.session_id}", label: "x") {{ session {{ id }} }}',
        f'revokeSession(id: "{account.session_id}") {{ status }}',
    ):
        answer = await client.gql(f"mutation {{ {field} }}", token=account.token)
        assert "errors" not in answer.json()


async def test_guests_have_nothing_to_prove(client: Any, db: Any) -> None:
    guest = await client.guest()
    await grow_old(db, guest.session_id, 10_000)
    done = await client.data("mutation { revokeOtherSessions { revokedCount } }", token=guest.token)
    assert done["revokeOtherSessions"]["revokedCount"] == 0
    assert await client.link_code(guest)


@pytest.mark.parametrize(
    "name", ["createLinkCode", "revokeSession", "revokeOtherSessions", "revokeAllSessions"]
)
async def test_a_guest_that_is_an_account_by_now_must_prove_it(
    client: Any, db: Any, until_waiting: Any, name: str
) -> None:
    guest = await client.guest()
    await grow_old(db, guest.session_id)
    async with db.transaction():
        await db.execute("SELECT FROM users FOR UPDATE")
        acting = asyncio.ensure_future(
            client.gql(f"mutation {{ {DANGEROUS[name]} }}", token=guest.token)
        )
        await until_waiting(acting)
        await db.execute("UPDATE users SET is_guest = false")
    (error,) = (await acting).json()["errors"]
    assert error["extensions"]["code"] == "REAUTHENTICATION_REQUIRED"
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_it_can_be_off(start_app: Any, db: Any) -> None:
    client = await start_app(SESSION_FRESH_FOR=0)
    account = await client.account("magnolia")
    await grow_old(db, account.session_id, 10_000)
    assert await client.link_code(account)


def by_password(username: str, password: str = PASSWORD) -> dict[str, Any]:
    return {"password": {"username": username, "password": password}}


async def test_ones_own_password_is_a_fresh_proof(client: Any, db: Any) -> None:
    account = await client.account("magnolia")
    other = await client.device(account)
    await grow_old(db, account.session_id)
    sent = await client.data(AGAIN, token=account.token, c=by_password("Magnolia"))
    payload = sent["reauthenticate"]
    assert payload["userErrors"] == []
    assert await reason(client, account.token) == "SUPERSEDED"
    assert (await client.gql(ME, token=other.token)).status_code == 200
    done = await client.data("mutation { createLinkCode { code } }", token=payload["token"])
    assert done["createLinkCode"]["code"]


async def test_another_users_or_a_link_code_is_no_proof_and_changes_nothing(
    client: Any, db: Any
) -> None:
    account, _ = await client.account("magnolia"), await client.account("begonia")
    code = await client.link_code(account)
    before = await db.fetch("SELECT * FROM user_sessions ORDER BY id")
    for credentials in (
        by_password("begonia"),
        by_password("magnolia", OTHER),
        by_password("nobody"),
        {"linkCode": {"code": code}},
        {"idToken": {"token": "x.y.z"}},
    ):
        sent = await client.data(AGAIN, token=account.token, c=credentials)
        refused(sent["reauthenticate"], "INVALID_CREDENTIALS", "credentials")
    assert await db.fetch("SELECT * FROM user_sessions ORDER BY id") == before
    assert (await client.redeem(code))["token"]


async def test_a_guest_cannot_prove_anything(client: Any) -> None:
    guest = await client.guest()
    sent = await client.data(AGAIN, token=guest.token, c=by_password("x", ""))
    refused(sent["reauthenticate"], "INVALID_CREDENTIALS", "credentials")


# Deleting.


async def test_deleting_erases_what_is_personal(client: Any, db: Any) -> None:
    account = await client.account("Magnolia")
    other = (await client.sign_in("magnolia"))["token"]
    code = await client.link_code(account)
    stranger = await client.guest()
    sent = await client.data(DELETE, token=account.token, name="magnolia")
    assert sent["deleteAccount"] == {"deleted": True, "userErrors": []}
    for token in (account.token, other):
        told = (await client.gql(ME, token=token)).json()["errors"][0]["extensions"]
        assert told["reason"] == "SESSION_NOT_FOUND"
    assert (await client.redeem(code))["token"] is None
    assert (await client.sign_in("magnolia"))["token"] is None
    tables = await db.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    for table in tables:
        rows = str(await db.fetch(f'SELECT t::text FROM "{table["name"]}" t'))
        assert ("magnolia" in rows.lower()) == (table["name"] == "usernames")
        assert account.user_id not in rows or table["name"] == "usernames"
    assert (await client.gql(ME, token=stranger.token)).status_code == 200


async def test_what_a_cleanup_writes_down_meanwhile_is_erased_too(
    client: Any, db: Any, until_waiting: Any
) -> None:
    account = await client.account("magnolia")
    user_id, expired = UUID(account.user_id), (await client.sign_in("magnolia"))["session"]["id"]
    async with db.transaction():
        await db.execute("UPDATE user_sessions SET expired_at = now() WHERE id = $1", UUID(expired))
        deleting = asyncio.ensure_future(client.data(DELETE, token=account.token, name="magnolia"))
        await until_waiting(deleting)
        await db.execute(
            """INSERT INTO session_events (user_id, id, session_id, kind, actor)
               VALUES ($1, gen_random_uuid(), $2, 'EXPIRED', 'SYSTEM')""",
            user_id,
            UUID(expired),
        )
    assert (await deleting)["deleteAccount"]["deleted"] is True
    assert await db.fetchval("SELECT count(*) FROM session_events") == 0


async def test_its_name_stays_reserved_for_a_while(client: Any, db: Any, clean_up: Any) -> None:
    account = await client.account("magnolia")
    await client.data(DELETE, token=account.token, name="magnolia")
    guest = await client.guest()
    refused(await claim(client, guest, "Magnolia"), "USERNAME_TAKEN", "username")
    await clean_up()
    refused(await claim(client, guest, "Magnolia"), "USERNAME_TAKEN", "username")
    await db.execute("UPDATE usernames SET reserved_until = now() - interval '1 s'"
                     " WHERE username_key = 'magnolia'")  # fmt: skip
    await clean_up()
    assert (await claim(client, guest, "Magnolia"))["token"]


async def test_without_ones_own_name_nothing_is_deleted(client: Any) -> None:
    account = await client.account("magnolia")
    for typed in ("", "begonia", "magnolia "):
        sent = (await client.data(DELETE, token=account.token, name=typed))["deleteAccount"]
        assert sent["deleted"] is False
        assert sent["userErrors"][0]["code"] == "CONFIRMATION_MISMATCH"
    assert (await client.gql(ME, token=account.token)).status_code == 200


async def test_a_guest_can_be_deleted_too(client: Any, db: Any) -> None:
    guest = await client.guest()
    name = await db.fetchval("SELECT username FROM users")
    sent = await client.data(DELETE, token=guest.token, name=name)
    assert sent["deleteAccount"]["deleted"] is True
    assert await db.fetchval("SELECT count(*) FROM usernames") == 0
