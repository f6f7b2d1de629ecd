"""GraphQL over server-sent events: graphql-sse in distinct connections mode, on a real socket."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest

ME = "{ viewer { id } }"
EVENTS = "subscription { mySessionEvents { kind session { id } } }"
REVOKE = "mutation($id: ID!) { revokeSession(id: $id) { status } }"
STREAM = "text/event-stream"
COMPLETE = ("complete", None)


class Stream:
    """A stream's events, one after the other."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.comments = 0
        self._lines = response.aiter_lines()

    async def event(self) -> tuple[str, Any] | None:
        """The next event and its data; None at the end."""
        event, data = "", ""
        async with asyncio.timeout(20):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments += 1
                name, _, value = line.partition(":")
                event = value.strip() if name == "event" else event
                data = value.strip() if name == "data" else data
                if not line and event:
                    return event, json.loads(data) if data else None
        return None

    async def rest(self) -> list[Any]:
        """All that still comes."""
        left = []
        while (event := await self.event()) is not None:
            left.append(event)
        return left


@asynccontextmanager
async def streaming(
    node: Any, query: str, token: str | None = None, accept: str = STREAM, method: str = "POST"
) -> AsyncIterator[Stream]:
    """An operation whose answer is a stream."""
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    sent = {"json": {"query": query}} if method == "POST" else {"params": {"query": query}}
    http = node.client.http
    async with http.stream(method, "/graphql", headers=headers, **sent, timeout=20) as response:
        yield Stream(response)


@pytest.fixture
async def node(start_node: Any) -> Any:
    return await start_node()


async def test_a_query_over_a_stream_is_next_and_complete(node: Any) -> None:
    for method in ("POST", "GET"):
        async with streaming(node, ME, method=method) as stream:
            assert stream.response.status_code == 200
            assert stream.response.headers["Content-Type"] == f"{STREAM}; charset=utf-8"
            assert stream.response.headers["Cache-Control"] == "no-store"
            assert await stream.rest() == [("next", {"data": {"viewer": None}}), COMPLETE]


async def test_what_precedes_the_document_is_plain_http(node: Any) -> None:
    async with streaming(node, EVENTS, token="not.a.token") as stream:
        assert stream.response.status_code == 401
        assert stream.response.headers["WWW-Authenticate"]
    http = node.client.http
    header = {"Accept": STREAM}
    assert (await http.post("/graphql", content="x", headers=header)).status_code == 415
    assert (await http.post("/graphql", json=5, headers=header)).status_code == 422
    async with streaming(node, "mutation { createSession { token } }", method="GET") as stream:
        assert stream.response.status_code == 405


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        (EVENTS, "UNAUTHENTICATED"),
    ],
)
async def test_what_is_wrong_with_the_document_is_told_in_events(
    node: Any, query: str, code: str
) -> None:
    async with streaming(node, query) as stream:
        assert stream.response.status_code == 200
        (event, data), end = await stream.rest()
        assert (event, end) == ("next", COMPLETE)
        assert data["errors"][0]["extensions"]["code"] == code


async def test_who_likes_json_as_well_gets_a_stream_of_subscriptions_only(node: Any) -> None:
    guest = await node.guest()
    async with streaming(node, ME, accept=f"{STREAM}, */*;q=0.1") as stream:
        assert stream.response.headers["Content-Type"] == f"{STREAM}; charset=utf-8"
    either = f"application/json, {STREAM}"
    async with streaming(node, ME, accept=either) as stream:
        assert stream.response.headers["Content-Type"] == "application/json; charset=utf-8"
    async with streaming(node, EVENTS, guest.token, accept=either) as stream:
        assert stream.response.headers["Content-Type"] == f"{STREAM}; charset=utf-8"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/graphql-response+json"])
async def test_a_subscription_that_wants_no_stream_is_406_and_told_what_to_accept(
    node: Any, accept: str
) -> None:
    guest = await node.guest()
    for method in ("POST", "GET"):
        async with streaming(node, EVENTS, guest.token, accept, method) as stream:
            assert stream.response.status_code == 406
            refused = json.loads(await stream.response.aread())["errors"][0]
            assert STREAM in refused["extensions"]["hint"]


async def test_events_and_then_the_end_of_ones_session(node: Any) -> None:
    guest = await node.guest()
    mine = await node.device(guest)
    async with streaming(node, EVENTS, mine.token) as stream:
        await asyncio.sleep(0.5)
        other = await node.device(guest)
        created = {"kind": "CREATED", "session": {"id": other.session_id}}
        assert await stream.event() == ("next", {"data": {"mySessionEvents": created}})
        await node.data(REVOKE, token=guest.token, id=mine.session_id)
        async with asyncio.timeout(1):
            (event, data), end = await stream.rest()
        assert (event, end) == ("next", COMPLETE)
        assert data["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"


async def test_an_end_of_several_sessions_tells_each_of_its_own_only(node: Any) -> None:
    guest = await node.guest()
    mine, _ = await node.device(guest), await node.device(guest)
    async with streaming(node, EVENTS, mine.token) as stream:
        await asyncio.sleep(0.5)
        await node.data("mutation { revokeOtherSessions { revokedCount } }", token=guest.token)
        (_, data), end = await stream.rest()
        assert end == COMPLETE
        assert data["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"


async def test_a_mutation_that_ends_its_own_session_is_answered(node: Any) -> None:
    guest = await node.guest()
    async with streaming(node, "mutation { revokeSession { status } }", guest.token) as stream:
        assert await stream.rest() == [
            ("next", {"data": {"revokeSession": {"status": "REVOKED"}}}),
            COMPLETE,
        ]


async def test_a_row_deleted_by_hand_ends_the_stream_within_two_seconds(node: Any, db: Any) -> None:
    guest = await node.guest()
    async with streaming(node, EVENTS, guest.token) as stream:
        await asyncio.sleep(0.3)
        await db.execute("DELETE FROM user_sessions WHERE id = $1", UUID(guest.session_id))
        async with asyncio.timeout(2):
            (_, data), end = await stream.rest()
        assert end == COMPLETE
        assert data["errors"][0]["extensions"]["reason"] == "SESSION_NOT_FOUND"


async def test_a_restart_cuts_the_stream_without_complete(node: Any) -> None:
    guest = await node.guest()
    async with streaming(node, EVENTS, guest.token) as stream:
        await asyncio.sleep(0.3)
        live = node.services.live
        cutting = asyncio.run_coroutine_threadsafe(live.close_all(), live.watch._wake._loop)
        await asyncio.wrap_future(cutting)
        assert await stream.rest() == []


async def test_a_store_that_is_away_cuts_the_stream_after_five_seconds(
    start_node: Any, db: Any
) -> None:
    node = await start_node(DATABASE_TIMEOUT=0.5)
    guest = await node.guest()
    async with streaming(node, EVENTS, guest.token) as stream:
        await asyncio.sleep(0.3)
        async with db.transaction():
            await db.execute("LOCK TABLE user_sessions IN ACCESS EXCLUSIVE MODE")
            assert await stream.rest() == []


async def test_for_whom_too_much_waits_the_stream_is_cut(node: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("live.held.MAX_CHANGES", 0)
    guest = await node.guest()
    async with streaming(node, EVENTS, guest.token) as stream:
        await asyncio.sleep(0.5)
        await node.device(guest)
        assert await stream.rest() == []


async def test_a_silent_stream_beats(node: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("web.streams.HEARTBEAT", 0.1)
    guest = await node.guest()
    async with streaming(node, EVENTS, guest.token) as stream:
        reading = asyncio.create_task(stream.event())
        await asyncio.sleep(1)
        reading.cancel()
        assert stream.comments >= 2


async def test_streams_of_a_session_and_of_an_address_are_limited(
    start_node: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("live.connections.SOCKETS_PER_SESSION", 1)
    node = await start_node(SOCKETS_PER_ADDRESS=2)
    guest, other, third = [await node.guest() for _ in range(3)]
    async with streaming(node, EVENTS, guest.token), streaming(node, EVENTS, other.token):
        for token in (guest.token, third.token):
            async with streaming(node, EVENTS, token) as refused:
                assert refused.response.status_code == 429
                assert refused.response.headers["Retry-After"]


async def test_a_client_that_leaves_leaves_nothing_behind(node: Any) -> None:
    guest = await node.guest()
    async with streaming(node, EVENTS, guest.token):
        await asyncio.sleep(0.3)
    live = node.services.live
    async with asyncio.timeout(10):
        while live.watch._by_user or live._open or live._networks or live._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_who_does_not_read_is_cut_off(node: Any, db: Any, monkeypatch: Any) -> None:
    """Its answer is dropped with the connection, and not kept for it without end."""
    monkeypatch.setattr("web.streams.STALL", 0.5)
    monkeypatch.setattr("web.streams.FAREWELL", 0.5)
    guest = await node.guest()
    await db.execute(
        """INSERT INTO user_sessions
               (user_id, id, label, expires_at, activity_resolution, user_agent)
           SELECT $1, gen_random_uuid(), 'one', now() + interval '1 h', interval '60 s',
                  repeat('x', 500)
           FROM generate_series(1, 800)""",
        UUID(guest.user_id),
    )
    many = (f"m{n}: mySessions {{ client {{ userAgent }} }}" for n in range(20))
    body = json.dumps({"query": f"{{ {' '.join(many)} }}"}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: a\r\nAccept: {STREAM}\r\n"
        f"Authorization: Bearer {guest.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        small.connect(("127.0.0.1", node.port))
        small.sendall(head.encode() + body)
        await asyncio.sleep(3)
        small.settimeout(5)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while more := await asyncio.to_thread(small.recv, 65536):
                received += more
    assert b"event: complete" not in received
