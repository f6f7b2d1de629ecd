"""What is written down: who did what, and nothing that a client or an operator keeps secret."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from server import logs
from web import health

NOWHERE = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
PLANTED = "planted-needle-9f8e7d"
CREATE = "mutation { createSession { token } }"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What was logged since, as JSON."""
    monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)  # the client's own
    root = logging.getLogger()
    before, level = root.handlers, root.level
    logs.configure("json")
    written = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)

    def read() -> list[dict[str, Any]]:
        text = written.getvalue()
        written.truncate(written.seek(0))
        return [json.loads(line) for line in text.splitlines()]

    yield read
    root.handlers, root.level = before, level
    structlog.reset_defaults()


async def test_beginning_and_ending_are_logged_with_who_and_why(client: Any, lines: Any) -> None:
    guest = await client.guest()
    response = await client.gql("mutation { revokeSession { status } }", token=guest.token)
    await client.gql("{ viewer { id } }", token=guest.token)
    created, revoked, refused = lines()
    assert (created["event"], created["user"]) == ("session_created", guest.user_id)
    assert created["session"] == guest.session_id
    assert (revoked["event"], revoked["session"]) == ("session_revoked", guest.session_id)
    assert (revoked["by"], revoked["reason"]) == (guest.session_id, "SIGNED_OUT")
    assert revoked["request_id"] == response.headers["X-Request-Id"]
    assert (refused["event"], refused["status"]) == ("refused", 401)
    assert (refused["code"], refused["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert all(line["timestamp"].endswith("Z") for line in (created, revoked, refused))
    assert created["address"] == "127.0.0.0/24"


async def test_what_strangers_send_is_never_quoted(client: Any, lines: Any, db: Any) -> None:
    """Neither where it is refused nor where something breaks, nor in the statements."""
    guest = await client.guest()
    label = f'mutation {{ createSession(input: {{label: "{PLANTED}"}}) {{ nothing }} }}'
    sent = [
        client.gql(label),
        client.gql(f"{{ {PLANTED.replace('-', '_')} }}", token=guest.token),
        client.gql("query($a: Int) { __typename }", a=PLANTED),
        client.gql(f'{{ a(b: "{PLANTED}'),
        client.gql("{ viewer { id } }", token=f"{guest.token}{PLANTED}"),
        client.gql("{ viewer { id } }", token=f"{PLANTED}.x.y"),
        client.http.get(f"/{PLANTED}?{PLANTED}", headers={"X-Request-Id": PLANTED}),
        client.http.get("/healthz", headers={"Host": f"{PLANTED} x"}),
        client.http.post("/graphql", content=PLANTED.encode()),
        client.http.post("/session", headers={"Origin": f"https://{PLANTED}.example"}),
    ]
    for request in sent:
        assert (await request).status_code >= 400
    written = lines()
    assert len(written) > len(sent)
    text = json.dumps(written)
    assert PLANTED not in text
    assert PLANTED.replace("-", "_") not in text
    assert guest.token not in text
    assert guest.token.rpartition(".")[2] not in text
    queries = await db.fetch("SELECT query FROM pg_stat_activity")
    assert PLANTED not in str(queries)


async def test_a_bug_in_a_resolver_is_logged_by_place_and_masked(
    client: Any, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError(PLANTED)

    monkeypatch.setattr("resolvers.sessions.names.two_words", broken)
    response = await client.gql("mutation { createSession { token } }")
    error = response.json()["errors"][0]
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert PLANTED not in response.text
    assert error["extensions"]["hint"]
    (line,) = lines()
    assert (line["event"], line["error"]) == ("resolver_failed", "ZeroDivisionError")
    assert line["field"] == "createSession"
    assert any("test_logs.py" in place for place in line["trace"])
    assert PLANTED not in json.dumps(line)


async def test_a_line_is_one_line_whatever_is_in_it(lines: Any) -> None:
    logging.getLogger("uvicorn.error").warning("a\r\nb\x1b[31m")
    (line,) = lines()
    assert line["event"] == "a\r\nb\x1b[31m"


@pytest.mark.usefixtures("lines")
async def test_a_value_that_is_no_text_or_no_json_is_written_all_the_same(lines: Any) -> None:
    values = {"surrogate": "a\ud800b", "large": 2**70, "object": ValueError("x"), "letters": "ü✓"}
    structlog.get_logger().info("odd", **values)
    (odd,) = lines()
    assert {name: odd[name] for name in values} == values | {"object": "ValueError('x')"}


def test_a_line_that_the_output_has_no_letters_for_is_escaped_and_not_lost() -> None:
    logs.configure("text")
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    written = io.BytesIO()
    handler.setStream(io.TextIOWrapper(written, encoding="ascii"))
    try:
        raise RuntimeError("für …")
    except RuntimeError:
        structlog.get_logger().exception("cannot_start")
    assert b"cannot_start" in written.getvalue()
    assert written.getvalue().endswith(b"RuntimeError: f\\xfcr \\u2026\n")


async def test_refusals_are_written_at_a_bounded_rate(client: Any, lines: Any) -> None:
    for _ in range(200):
        await client.gql("{ viewer { id } }", token="a.b.c")
    written = [line for line in lines() if line["event"] == "refused"]
    assert 10 <= len(written) < 200


async def test_a_request_that_fails_in_many_fields_is_one_line(
    client: Any, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    guest = await client.guest()
    lines()
    monkeypatch.setattr("resolvers.users.to_user", broken)
    query = "{ a: viewer { id } b: viewer { id } c: viewer { id } }"
    response = await client.gql(query, token=guest.token)
    assert len(response.json()["errors"]) == 3
    (line,) = lines()
    assert (line["event"], line["field"], line["times"]) == ("resolver_failed", "viewer", 3)


async def test_bugs_are_written_at_a_bounded_rate(
    client: Any, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(health, "check", broken)
    for _ in range(200):
        assert (await client.http.get("/readyz")).status_code == 500
    written = [line for line in lines() if line["event"] == "request_failed"]
    assert 10 <= len(written) < 200


async def test_what_the_http_server_says_is_written_at_a_bounded_rate(lines: Any) -> None:
    """And its advice about upgrades never: every request could ask for one."""
    uvicorns = logging.getLogger("uvicorn.error")
    for _ in range(200):
        uvicorns.warning("Unsupported upgrade request.")
        uvicorns.warning("No supported WebSocket library detected. Please use …")
        uvicorns.warning("Invalid HTTP request received.")
    written = [line["event"] for line in lines()]
    assert 10 <= len(written) < 200
    assert set(written) <= {"Invalid HTTP request received.", "http_errors_not_logged"}


async def test_what_a_resolver_met_is_logged_like_any_refusal(start_app: Any, lines: Any) -> None:
    """With the cause, which the client is not told."""
    away = await start_app(DATABASE_URL=NOWHERE)
    full = await start_app(GUEST_RATE_LIMIT=1)
    answers = [await away.gql(CREATE), await full.gql(CREATE), await full.gql(CREATE)]
    assert [answer.status_code for answer in answers] == [503, 200, 429]
    store, limit = [line for line in lines() if line["event"] == "refused"]
    assert (store["code"], store["status"]) == ("SESSION_STORE_UNAVAILABLE", 503)
    assert "ConnectionRefusedError" in store["cause"]
    assert (limit["code"], limit["status"]) == ("RATE_LIMITED", 429)
    assert "ConnectionRefusedError" not in answers[0].text


async def test_why_the_database_cannot_answer_is_for_the_log_only(
    start_app: Any, lines: Any
) -> None:
    client = await start_app(DATABASE_URL=NOWHERE)
    ready = await client.http.get("/readyz")
    assert ready.json()["checks"] == {"database": "cannot answer"}
    async with asyncio.timeout(60):
        found: list[Any] = []
        while not found:
            await asyncio.sleep(0.01)
            found = [line for line in lines() if line["event"] == "not_ready"]
    assert found[0]["database"] == "cannot answer: ConnectionRefusedError"


async def test_the_clients_address_is_what_a_trusted_proxy_says(start_app: Any, lines: Any) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.77"}
    trusting = await start_app(TRUSTED_PROXIES=("127.0.0.1",))
    await trusting.http.post("/session", headers=forwarded)
    plain = await start_app()
    await plain.http.post("/session", headers=forwarded)
    assert [line["address"] for line in lines()] == ["203.0.113.0/24", "127.0.0.0/24"]
