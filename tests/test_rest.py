"""The session in plain HTTP: POST /session, /session/validate, DELETE /session."""

from typing import Any

import pytest

from auth import tokens
from auth.keys import ring

SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"


async def begin(client: Any, **headers: str) -> Any:
    return await client.http.post("/session", headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_post_makes_a_guest(client: Any, db: Any) -> None:
    response = await begin(client)
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"token", "token_type", "expires_at", "session_id", "username"}
    assert body["token_type"] == "Bearer"
    claims = tokens.verify(
        body["token"],
        ring(SECRET),
        tokens.Profile("bigtwo-sessions", "bigtwo-sessions", "bigtwo-frontend"),
    )
    assert str(claims.session_id) == body["session_id"]
    row = await db.fetchrow("SELECT * FROM user_sessions JOIN users u ON u.id = user_id")
    assert (row["username"], row["is_guest"]) == (body["username"], True)
    assert row["expires_at"].isoformat() == body["expires_at"]


@pytest.mark.parametrize("credential", ["Bearer no.good.token", "Basic abc", "Bearer", ""])
async def test_post_ignores_any_credential(client: Any, credential: str) -> None:
    response = await begin(client, Authorization=credential)
    assert response.status_code == 201
    two = [("Authorization", credential), ("Authorization", "Bearer x")]
    assert (await client.http.post("/session", headers=two)).status_code == 201


async def test_post_leaves_the_callers_session_alone(client: Any) -> None:
    guest = await client.guest()
    response = await begin(client, **bearer(guest.token))
    assert response.json()["username"]
    assert (await client.gql("{ viewer { id } }", token=guest.token)).status_code == 200


async def test_post_ignores_the_body(client: Any) -> None:
    sent = await client.http.post("/session", content=b"\xff{[", headers={"Content-Type": "x/y"})
    assert sent.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8001"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_page_of_an_origin_that_is_not_listed_makes_no_guest(
    client: Any, db: Any, headers: dict[str, str]
) -> None:
    response = await begin(client, **headers)
    assert response.status_code == 403
    assert response.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert await db.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8000"},
        {"Origin": "https://app.example.com"},
        {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_ones_own_page_a_listed_one_and_no_page_may(
    start_app: Any, headers: dict[str, str]
) -> None:
    client = await start_app(ALLOWED_ORIGINS=("https://app.example.com",))
    assert (await begin(client, **headers)).status_code == 201


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("path", ["/session/validate", "/session/validate/api/x?y=1"])
async def test_validate_answers_any_method_and_path_below(
    client: Any, method: str, path: str
) -> None:
    guest = await client.guest()
    response = await client.http.request(method, path, headers=bearer(guest.token))
    assert response.status_code == 200
    assert response.headers["X-User-Id"] == guest.user_id
    assert response.headers["X-Session-Id"] == guest.session_id
    if method != "HEAD":
        body = response.json()
        assert (body["user"]["id"], body["session"]["id"]) == (guest.user_id, guest.session_id)
    without = await client.http.request(method, path)
    assert without.status_code == 401
    assert without.headers["WWW-Authenticate"] == "Bearer"
    assert "X-User-Id" not in without.headers


@pytest.mark.parametrize("path", ["/session/validate", "/session/validate/api/x"])
@pytest.mark.parametrize("origin", ["https://app.example.com", "https://elsewhere.example"])
async def test_a_preflight_is_no_yes_to_a_proxy_that_asks_who_calls(
    start_app: Any, path: str, origin: str
) -> None:
    """It forwards its client's OPTIONS with all headers, and means them for another service."""
    client = await start_app(ALLOWED_ORIGINS=("https://app.example.com",))
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert (await client.http.options(path, headers=asked)).status_code == 401
    guest = await client.guest()
    response = await client.http.options(path, headers=asked | bearer(guest.token))
    assert response.status_code == 200
    assert response.headers["X-User-Id"] == guest.user_id
    other = await client.http.options("/session", headers=asked)
    assert other.status_code == (200 if origin == "https://app.example.com" else 403)


async def test_delete_signs_out(client: Any, db: Any) -> None:
    guest = await client.guest()
    response = await client.http.delete("/session", headers=bearer(guest.token))
    assert (response.status_code, response.content) == (204, b"")
    assert await db.fetchval("SELECT revoked_reason FROM user_sessions") == "SIGNED_OUT"
    for method, path in (("GET", "/session/validate"), ("DELETE", "/session")):
        again = await client.http.request(method, path, headers=bearer(guest.token))
        assert again.status_code == 401
        told = again.json()["errors"][0]["extensions"]
        assert (told["code"], told["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        assert told["revokedReason"] == "SIGNED_OUT"
        assert "createSession" in told["hint"]


async def test_delete_without_a_credential_is_401(client: Any) -> None:
    response = await client.http.delete("/session")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "TRACE"])
async def test_another_method_is_405(client: Any, method: str) -> None:
    response = await client.http.request(method, "/session")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, DELETE, OPTIONS"
