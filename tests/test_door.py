"""The door: who is let in, who is refused and why, and what a refused one can do (nothing)."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth import keys, tokens

ME = "{ viewer { id } }"
POLICY = "{ sessionPolicy { absoluteLifetime } }"
MINE = "{ mySessions { id } }"
CREATE = "mutation { createSession { token session { id } } }"
SIGN_OUT = "mutation { revokeSession { status } }"
REVOKE = "mutation Revoke($id: ID) { revokeSession(id: $id) { status session { id } } }"

# How a session comes to its end, by hand; its token goes on saying that it is good.
REVOKED = """UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER'
             WHERE user_id = $1 AND id = $2"""
EXPIRED = """UPDATE user_sessions
             SET created_at = now() - interval '31 d', expires_at = now() - interval '1 ms'
             WHERE user_id = $1 AND id = $2"""
DELETED = "DELETE FROM user_sessions WHERE user_id = $1 AND id = $2"
DISABLED = "UPDATE users SET disabled_at = now() WHERE id = $1 AND $2::uuid IS NOT NULL"
ENDS = {
    "SESSION_REVOKED": REVOKED,
    "SESSION_EXPIRED": EXPIRED,
    "SESSION_NOT_FOUND": DELETED,
    "USER_DISABLED": DISABLED,
}
EVERY_END = pytest.mark.parametrize(("reason", "end"), ENDS.items(), ids=ENDS.keys())


@pytest.fixture
def mint(make_settings: Any) -> Callable[[Any], str]:
    """Mints the token of a row, as the server does."""
    settings = make_settings()

    def minted(row: Any) -> str:
        return tokens.mint(
            keys.ring(settings.JWT_SECRET.get_secret_value()),
            tokens.Profile(settings.JWT_ISSUER, settings.JWT_AUDIENCE, settings.JWT_CLIENT_ID),
            user_id=row["user_id"],
            session_id=row["id"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
        )

    return minted


async def put_an_end(db: Any, guest: Any, end: str) -> None:
    assert await db.execute(end, UUID(guest.user_id), UUID(guest.session_id)) in {
        "UPDATE 1",
        "DELETE 1",
    }


async def everything(db: Any) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    tables = await db.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    return {
        table["name"]: sorted(
            row["text"]
            for row in await db.fetch(f'SELECT t::text AS text FROM "{table["name"]}" t')
        )
        for table in tables
    }


async def told(client: Any, token: str, query: str = ME) -> Any:
    """The extensions of a 401's error."""
    response = await client.gql(query, token=token)
    assert response.status_code == 401, response.text
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert "data" not in response.json()
    return response.json()["errors"][0]["extensions"]


async def send(client: Any, *credentials: bytes, **request: Any) -> Any:
    """A request with these Authorization headers."""
    headers = [(b"Authorization", credential) for credential in credentials]
    return await client.http.post("/graphql", json={"query": ME}, headers=headers, **request)


# What a credential is


async def test_without_a_credential_the_caller_is_nobody(client: Any) -> None:
    response = await send(client)
    assert response.status_code == 200
    assert response.json() == {"data": {"viewer": None}}


async def test_the_scheme_has_no_case_and_may_be_followed_by_more_blanks(client: Any) -> None:
    token = (await client.guest()).token.encode()
    for scheme in (b"Bearer ", b"bearer ", b"BEARER ", b"bEaReR ", b"Bearer   "):
        response = await send(client, scheme + token)
        assert response.json()["data"]["viewer"], scheme


async def test_half_a_credential_is_malformed(client: Any) -> None:
    token = (await client.guest()).token.encode()
    for credential in (b"", b"Bearer", b"Bearer ", b"bearer  ", b"Bearer \t", b"Bearer =",
                       b"Bearer a b", b"Bearer " + token + b" x", b"Bearer a,b",
                       b"Bearer " + token + b", Bearer " + token, b'Bearer "' + token + b'"',
                       b"Bearer token=" + token + b"&x", b"Bearer \xc3\xa4"):  # fmt: skip
        response = await send(client, credential)
        assert response.status_code == 400, credential
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_request"'
        assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_another_scheme_is_refused(client: Any) -> None:
    token = (await client.guest()).token.encode()
    for credential in (b"Basic dTpw", b"Token " + token, b"DPoP " + token, b"JWT " + token, token,
                       b"Bearer:" + token, b"Bearer\t" + token, b"Bearer" + token,
                       b"Digest x", b"\xff\xfe " + token):  # fmt: skip
        response = await send(client, credential)
        assert response.status_code == 401, credential
        assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_two_credentials_are_none_and_never_the_first_one(client: Any) -> None:
    good = b"Bearer " + (await client.guest()).token.encode()
    for pair in ([good, good], [good, b"Bearer x"], [b"Bearer x", good], [good, b""], [b"", good],
                 [good, b"Basic dTpw"]):  # fmt: skip
        response = await send(client, *pair)
        assert response.status_code == 400, pair
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_request"'


async def test_a_token_has_no_effect_anywhere_else(client: Any) -> None:
    token = (await client.guest()).token
    for response in (
        await send(client, params={"access_token": token, "token": token, "Authorization": token}),
        await client.http.post(
            "/graphql", json={"query": ME, "access_token": token, "extensions": {"token": token}}
        ),
        await client.gql(
            ME,
            headers={
                "Cookie": f"token={token}; access_token={token}; Authorization={token}",
                "X-Authorization": f"Bearer {token}",
                "Proxy-Authorization": f"Bearer {token}",
            },
        ),
    ):
        assert response.json() == {"data": {"viewer": None}}


async def test_a_token_is_accepted_by_get_too_and_refused_there_alike(client: Any) -> None:
    guest = await client.guest()
    headers = {"Authorization": f"Bearer {guest.token}"}
    let_in = await client.http.get("/graphql", params={"query": ME}, headers=headers)
    assert let_in.json()["data"]["viewer"] == {"id": guest.user_id}
    await client.data(SIGN_OUT, token=guest.token)
    refused = await client.http.get("/graphql", params={"query": ME}, headers=headers)
    assert refused.status_code == 401
    assert refused.json()["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"


# What it costs


async def test_a_good_token_costs_one_statement(client: Any, statements: list[str]) -> None:
    guest = await client.guest()
    await client.data(ME, token=guest.token)
    statements.clear()
    await client.data("{ viewer { id } currentSession { id } }", token=guest.token)
    assert len(statements) == 1


async def test_a_forged_token_costs_none_even_before_the_clock_was_read(
    start_app: Any, client: Any, statements: list[str]
) -> None:
    forged = (await client.guest()).token[:-4] + "AAAA"
    fresh = await start_app()
    statements.clear()
    response = await fresh.gql(ME, token=forged)
    # The watch over the database's condition may have begun meanwhile: it reads no session.
    assert response.status_code == 401
    assert not [statement for statement in statements if "user_sessions" in statement]


async def test_an_expired_token_costs_none(
    client: Any, db: Any, statements: list[str], mint: Any
) -> None:
    guest = await client.guest()
    expired = mint(await aged(db, guest))
    statements.clear()
    assert (await told(client, expired))["reason"] == "TOKEN_EXPIRED"
    assert statements == []


async def aged(db: Any, guest: Any) -> Any:
    """The guest's row, its deadline a second ago."""
    return await db.fetchrow(
        """UPDATE user_sessions
           SET created_at = now() - interval '31 d', expires_at = now() - interval '2 s'
           WHERE user_id = $1 AND id = $2 RETURNING user_id, id, created_at, expires_at""",
        UUID(guest.user_id),
        UUID(guest.session_id),
    )


# Who is refused, and why


@EVERY_END
async def test_a_good_token_of_an_ended_session_is_refused_with_the_reason(
    client: Any, db: Any, reason: str, end: str
) -> None:
    guest = await client.guest()
    await put_an_end(db, guest, end)
    found = await told(client, guest.token)
    assert (found["code"], found["reason"]) == ("UNAUTHENTICATED", reason)
    assert "createSession" in found["hint"]


async def test_a_revoked_session_says_when_and_why(client: Any, db: Any) -> None:
    guest = await client.guest()
    await put_an_end(db, guest, REVOKED)
    found = await told(client, guest.token)
    when = await db.fetchval("SELECT revoked_at FROM user_sessions")
    assert found["revokedAt"] == when.isoformat()
    assert found["revokedReason"] == "REVOKED_BY_USER"


async def test_two_ends_do_not_hide_each_other(client: Any, db: Any) -> None:
    undo = {
        REVOKED: "UPDATE user_sessions SET revoked_at = NULL, revoked_reason = NULL",
        EXPIRED: "UPDATE user_sessions SET expires_at = now() + interval '1 d'",
        DISABLED: "UPDATE users SET disabled_at = NULL",
    }
    for one, other in itertools.permutations(undo, 2):
        guest = await client.guest()
        await put_an_end(db, guest, one)
        await put_an_end(db, guest, other)
        await told(client, guest.token)
        await db.execute(undo[one])
        await told(client, guest.token)


async def test_a_session_belongs_to_its_user_only(client: Any, db: Any, mint: Any) -> None:
    one, other = await client.guest(), await client.guest()
    row = dict(await db.fetchrow("SELECT * FROM user_sessions WHERE id = $1", UUID(one.session_id)))
    for stolen in ({"id": UUID(other.session_id)}, {"user_id": UUID(other.user_id)}):
        assert (await told(client, mint(row | stolen)))["reason"] == "SESSION_NOT_FOUND"
    assert (await told(client, mint(row | {"id": uuid4()})))["reason"] == "SESSION_NOT_FOUND"


@EVERY_END
async def test_a_dead_token_opens_no_public_field_and_no_other_path(
    client: Any, db: Any, reason: str, end: str
) -> None:
    guest = await client.guest()
    await put_an_end(db, guest, end)
    for query in (POLICY, "{ __typename }", "{ __schema { queryType { name } } }", MINE):
        assert (await told(client, guest.token, query))["reason"] == reason
    headers = {"Authorization": f"Bearer {guest.token}"}
    assert (await client.http.get("/session/validate", headers=headers)).status_code == 401
    assert (await client.http.delete("/session", headers=headers)).status_code == 401


async def test_a_dead_token_is_refused_before_anything_else_is_looked_at(client: Any) -> None:
    token = (await client.guest()).token
    await client.data(SIGN_OUT, token=token)
    headers = {"Authorization": f"Bearer {token}"}
    for method, request in (
        ("PUT", {}),
        ("POST", {"content": b"{"}),
        ("POST", {"content": b"x" * 100_000}),
        ("POST", {"content": b"query", "headers": {"Content-Type": "text/plain"}}),
        ("POST", {"json": {"query": "{ nonsense"}}),
        ("POST", {"json": {"query": ME}, "headers": {"Accept": "image/png"}}),
        ("GET", {"params": {"query": SIGN_OUT}}),
    ):
        sent = request | {"headers": headers | request.get("headers", {})}  # type: ignore[operator]
        response = await client.http.request(method, "/graphql", **sent)
        assert response.status_code == 401, (method, request)


@EVERY_END
async def test_no_resolver_runs_for_a_dead_token(
    client: Any, db: Any, add_session: Any, statements: list[str], *, reason: str, end: str
) -> None:
    guest = await client.guest()
    other = await add_session(guest)
    await put_an_end(db, guest, end)
    before = await everything(db)
    for query, variables in ((CREATE, {}), (SIGN_OUT, {}), (REVOKE, {"id": other.session_id})):
        statements.clear()
        response = await client.gql(query, token=guest.token, **variables)
        assert response.json()["errors"][0]["extensions"]["reason"] == reason
        (door,) = (sent for sent in statements if "user" in sent)  # the watch looks elsewhere
        assert "FROM user_sessions s JOIN users" in door
    assert await everything(db) == before


async def test_once_refused_a_token_is_refused_for_ever_on_every_node(
    client: Any, start_app: Any, add_session: Any
) -> None:
    guest = await client.guest()
    other = await add_session(guest)
    elsewhere = await start_app()
    assert (await elsewhere.gql(ME, token=guest.token)).status_code == 200
    await client.data(SIGN_OUT, token=guest.token)
    for node in (client, elsewhere, await start_app()):
        assert (await told(node, guest.token))["reason"] == "SESSION_REVOKED"
        assert (await node.gql(ME, token=other.token)).status_code == 200
    await client.data(REVOKE, token=other.token, id=guest.session_id)
    assert (await told(elsewhere, guest.token))["revokedReason"] == "SIGNED_OUT"


async def test_signing_out_twice_at_once_is_calm(client: Any) -> None:
    guest = await client.guest()
    answers = await asyncio.gather(*(client.gql(SIGN_OUT, token=guest.token) for _ in range(8)))
    calm = {"REVOKED", "ALREADY_ENDED"}
    for answer in answers:
        if answer.status_code == 200:
            assert answer.json()["data"]["revokeSession"]["status"] in calm
        else:
            assert answer.status_code == 401
    assert (await told(client, guest.token))["revokedReason"] == "SIGNED_OUT"


async def test_a_client_with_a_dead_token_can_begin_anew(client: Any) -> None:
    guest = await client.guest()
    await client.data(SIGN_OUT, token=guest.token)
    anew = await client.http.post("/session", headers={"Authorization": f"Bearer {guest.token}"})
    assert anew.status_code == 201
    assert (await client.gql(ME, token=anew.json()["token"])).json()["data"]["viewer"]


async def test_foreign_unknown_and_senseless_ids_get_the_same_answer(client: Any, db: Any) -> None:
    mine, theirs = await client.guest(), await client.guest()
    before = await everything(db)
    answers = [
        await client.gql(REVOKE, token=mine.token, id=target)
        for target in (theirs.session_id, theirs.user_id, str(uuid4()), mine.user_id, "x", "",
                       mine.session_id.upper(), f"{{{mine.session_id}}}")
    ]  # fmt: skip
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (200, b'{"data":{"revokeSession":{"status":"NOT_FOUND","session":null}}}')
    }
    assert await everything(db) == before


# What ends between the door and the deed


@contextlib.asynccontextmanager
async def past_the_door(db: Any, guest: Any, request: Awaitable[Any]) -> AsyncIterator[Any]:
    """Holds the user's row until a request, let in already, waits for it; then the block's end."""
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(guest.user_id))
        under_way = asyncio.ensure_future(request)
        while not await db.fetchval(
            "SELECT count(*) FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        ):
            assert not under_way.done(), under_way.result().text
            await asyncio.sleep(0.01)
        yield under_way


@EVERY_END
async def test_a_session_that_ends_after_the_door_creates_and_revokes_nothing(
    client: Any, db: Any, add_session: Any, reason: str, end: str
) -> None:
    other = await add_session(await client.guest())
    for query, variables in ((CREATE, {}), (REVOKE, {"id": other.session_id})):
        caller = await add_session(other, "third-device")
        request = client.gql(query, token=caller.token, **variables)
        async with past_the_door(db, caller, request) as under_way:
            await put_an_end(db, caller, end)
            after_the_end = await everything(db)
        response = await under_way
        error = response.json()["errors"][0]
        assert (response.status_code, response.json()["data"]) == (200, None)
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == (
            "UNAUTHENTICATED",
            reason,
        )
        assert await everything(db) == after_the_end
        await db.execute("UPDATE users SET disabled_at = NULL")


@pytest.mark.parametrize("by_id", [False, True], ids=["without id", "by id"])
@pytest.mark.parametrize("end", [REVOKED, EXPIRED, DELETED], ids=["revoked", "expired", "deleted"])
async def test_signing_out_of_a_session_that_ended_after_the_door_finds_it_ended(
    client: Any, db: Any, end: str, *, by_id: bool
) -> None:
    guest = await client.guest()
    request = client.gql(REVOKE, token=guest.token, id=guest.session_id if by_id else None)
    async with past_the_door(db, guest, request) as under_way:
        await put_an_end(db, guest, end)
        after_the_end = await everything(db)
    response = await under_way
    assert response.json()["data"]["revokeSession"]["status"] == "ALREADY_ENDED"
    assert await everything(db) == after_the_end
