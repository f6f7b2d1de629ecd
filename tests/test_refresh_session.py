"""refreshSession: another token of the same session, and the old one stays good."""

import asyncio
from typing import Any

import jwt

REFRESH = """mutation { refreshSession {
    token tokenType expiresAt session { id isCurrent expiresAt } userErrors { code } } }"""


def claims(token: str) -> dict[str, Any]:
    read: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return read


async def test_the_same_session_gets_another_token(client: Any) -> None:
    guest = await client.guest()
    payload = (await client.data(REFRESH, token=guest.token))["refreshSession"]
    assert payload["userErrors"] == []
    assert payload["tokenType"] == "Bearer"
    assert (payload["session"]["id"], payload["session"]["isCurrent"]) == (guest.session_id, True)
    assert payload["expiresAt"] == payload["session"]["expiresAt"]
    old, new = claims(guest.token), claims(payload["token"])
    assert old.pop("jti") != new.pop("jti")
    assert old == new
    for token in (guest.token, payload["token"]):
        assert await client.data("{ viewer { id } }", token=token)


async def test_several_tabs_at_once_sign_nobody_out(client: Any, db: Any) -> None:
    guest = await client.guest()
    answers = await asyncio.gather(*(client.data(REFRESH, token=guest.token) for _ in range(10)))
    tokens = {answer["refreshSession"]["token"] for answer in answers}
    assert len(tokens) == 10
    for token in (guest.token, *tokens):
        assert await client.data("{ viewer { id } }", token=token)
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 1


async def test_the_end_of_the_session_ends_all_its_tokens(client: Any) -> None:
    guest = await client.guest()
    token = (await client.data(REFRESH, token=guest.token))["refreshSession"]["token"]
    await client.data("mutation { revokeSession { status } }", token=token)
    for dead in (guest.token, token):
        assert (await client.gql("{ viewer { id } }", token=dead)).status_code == 401
