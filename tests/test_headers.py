"""What every answer carries, whoever asks for what; and what pages of other origins are told."""

from typing import Any

import pytest

from web import health

ORIGIN = "https://app.example.com"
PAGE = {"Accept": "text/html"}
DEAD = {"Authorization": "Bearer no.good.token"}
ASKED: dict[str, tuple[str, str, dict[str, str], int]] = {
    "a query": ("GET", "/graphql?query={__typename}", {}, 200),
    "a page": ("GET", "/graphql", PAGE, 200),
    "a page's file": ("GET", "/graphiql/boot.js", {}, 200),
    "the sessions page": ("GET", "/", PAGE, 200),
    "its file": ("GET", "/sessions-page/app.js", {}, 200),
    "a dead token": ("POST", "/graphql", DEAD, 401),
    "half a token": ("POST", "/graphql", {"Authorization": "Bearer"}, 400),
    "a wrong method": ("PUT", "/graphql", {}, 405),
    "a wrong type": ("POST", "/graphql", {}, 415),
    "nothing acceptable": ("GET", "/graphql?query={a}", {"Accept": "image/png"}, 406),
    "a wrong shape": ("GET", "/graphql", {}, 422),
    "options": ("OPTIONS", "/graphql", {}, 204),
    "a guest": ("POST", "/session", {}, 201),
    "another's page": ("POST", "/session", {"Origin": "https://evil.example"}, 403),
    "no session": ("GET", "/session/validate", {}, 401),
    "health": ("GET", "/healthz", {}, 200),
    "readiness": ("GET", "/readyz", {}, 200),
    "nothing": ("GET", "/nothing", {}, 404),
    "a long URL": ("GET", f"/graphql?query={'x' * 9000}", {}, 414),
    "long headers": ("GET", "/graphql", {"X": "x" * 20_000}, 431),
    "an odd host": ("GET", "/healthz", {"Host": "a b"}, 400),
    "a wrong method of health": ("POST", "/healthz", {}, 405),
}


@pytest.mark.parametrize("name", ASKED)
async def test_every_answer_carries_the_same_protection(client: Any, name: str) -> None:
    method, url, headers, status = ASKED[name]
    answers = [await client.http.request(method, url, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, status]
    told = answers[0].headers
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["Cache-Control"] in {"no-store", "no-cache"}
    assert (told["Cache-Control"] == "no-cache") == ("/boot.js" in url or "/app.js" in url)
    assert told["Referrer-Policy"] == "no-referrer"
    assert told["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in told["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in told["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in told
    assert "Server" not in told
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 2
    assert ("Accept" in told["Vary"]) == url.startswith("/graphql")
    if status >= 400:
        assert answers[0].json()["errors"][0]["extensions"]["hint"]


@pytest.mark.parametrize("path", ["/graphql", "/"])
async def test_a_page_may_load_from_here_only(client: Any, path: str) -> None:
    told = (await client.http.get(path, headers=PAGE)).headers
    policy = dict(part.strip().split(" ", 1) for part in told["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == ("'none'" if path == "/" else "default")
    assert told["Cross-Origin-Opener-Policy"] == "same-origin"


async def test_over_tls_the_browser_is_told_to_stay_there(start_app: Any) -> None:
    """As a trusted proxy says it was asked; from anybody else the header means nothing."""
    forwarded = {"X-Forwarded-Proto": "https"}
    trusting = await start_app(TRUSTED_PROXIES=("127.0.0.1",))
    told = (await trusting.http.get("/healthz", headers=forwarded)).headers
    assert int(told["Strict-Transport-Security"].split(";")[0].removeprefix("max-age=")) >= 31536000
    plain = await start_app()
    told = (await plain.http.get("/healthz", headers=forwarded)).headers
    assert "Strict-Transport-Security" not in told


async def test_a_bug_answers_500_and_tells_nothing_of_itself(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(services: Any) -> dict[str, str]:
        del services
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(health, "check", broken)
    response = await client.http.get("/readyz")
    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert response.json()["errors"][0]["extensions"]["hint"]
    assert "ZeroDivision" not in response.text
    assert "secret detail" not in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"


# Pages of other origins.


async def preflight(client: Any, origin: str, method: str = "POST", header: str = "") -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    asked |= {"Access-Control-Request-Headers": header} if header else {}
    return await client.http.options("/graphql", headers=asked)


@pytest.fixture
async def listing(start_app: Any) -> Any:
    return await start_app(ALLOWED_ORIGINS=(ORIGIN,))


@pytest.mark.parametrize("header", ["authorization", "content-type", "authorization,content-type"])
async def test_a_listed_origin_may_send_token_and_json(listing: Any, header: str) -> None:
    answer = await preflight(listing, ORIGIN, header=header)
    assert answer.status_code in {200, 204}
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {"GET", "POST"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    allowed = {h.strip() for h in answer.headers["Access-Control-Allow-Headers"].lower().split(",")}
    assert {"authorization", "content-type"} <= allowed
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        f"{ORIGIN}.evil.example",
        f"{ORIGIN}:444",
        "http" + ORIGIN[5:],
    ],
)
async def test_any_other_origin_is_not_told_yes(listing: Any, client: Any, origin: str) -> None:
    for asked in (listing, client):
        answers = [await preflight(asked, origin)]
        answers.append(await asked.http.get("/healthz", headers={"Origin": origin}))
        for answer in answers:
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method", "header"),
    [
        ("https://evil.example", "POST", ""),
        (ORIGIN, "BREW", ""),
        (ORIGIN, "POST", "x-mine"),
    ],
)
async def test_a_refused_preflight_is_told_why(
    listing: Any, origin: str, method: str, header: str
) -> None:
    answer = await preflight(listing, origin, method, header)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    (error,) = answer.json()["errors"]
    assert error["message"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert "ALLOWED_ORIGINS" in error["extensions"]["hint"]
    vary = set((await preflight(listing, ORIGIN)).headers["Vary"].split(", "))
    assert set(answer.headers["Vary"].split(", ")) == vary > {"Origin"}


@pytest.mark.parametrize("path", ["/graphql", "/session/validate", "/nothing"])
async def test_a_listed_origin_can_read_refusals_and_their_headers(listing: Any, path: str) -> None:
    answer = await listing.http.get(path, headers={"Origin": ORIGIN} | DEAD)
    assert answer.status_code in {401, 404}
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert exposed == {"WWW-Authenticate", "Retry-After", "X-Request-Id"}
    assert "Origin" in answer.headers["Vary"]


async def test_who_is_told_what_depends_on_the_origin_for_every_cache(listing: Any) -> None:
    answer = await listing.http.get("/healthz")
    assert "Origin" in answer.headers["Vary"]
