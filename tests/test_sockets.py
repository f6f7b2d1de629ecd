"""GraphQL over WebSockets: each rule of the protocol, frame by frame, on real sockets."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

ME = "{ viewer { id } }"
MINE = "{ mySessions { id } }"
POLICY = "{ sessionPolicy { retention } }"
EVENTS = "subscription { mySessionEvents { kind session { id label } } }"


@pytest.fixture
async def node(start_node: Any) -> Any:
    """One server."""
    return await start_node()


async def test_a_query_is_answered_with_next_and_complete(node: Any) -> None:
    guest = await node.guest()
    wire = await node.connect(guest.token)
    await wire.subscribe("1", ME)
    assert await wire.read() == {
        "id": "1",
        "type": "next",
        "payload": {"data": {"viewer": {"id": guest.user_id}}},
    }
    assert await wire.read() == {"id": "1", "type": "complete"}
    await wire.subscribe("1", ME)  # an id is free again
    assert (await wire.read())["type"] == "next"


async def test_a_mutation_makes_a_session(node: Any) -> None:
    wire = await node.connect()
    await wire.subscribe("1", "mutation { createSession { token } }")
    made = await wire.read()
    assert made["payload"]["data"]["createSession"]["token"]


async def test_nobody_gets_an_error_from_what_is_guarded(node: Any) -> None:
    wire = await node.connect()
    for query in (MINE, EVENTS):
        await wire.subscribe("1", query)
        refused = await wire.read()
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    await wire.subscribe("2", POLICY)
    assert (await wire.read())["payload"]["data"]["sessionPolicy"]


@pytest.mark.parametrize(
    ("query", "code"),
    [("{", "GRAPHQL_PARSE_FAILED"), ("{ nothing }", "GRAPHQL_VALIDATION_FAILED")],
)
async def test_a_bad_document_is_an_error_and_its_id_is_free(
    node: Any, query: str, code: str
) -> None:
    wire = await node.connect()
    for _ in range(2):
        await wire.subscribe("1", query)
        refused = await wire.read()
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == code


async def test_a_pong_returns_the_payload(node: Any) -> None:
    wire = await node.connect()
    await wire.send({"type": "ping", "payload": {"at": [1, "\ud800"]}})
    assert await wire.read() == {"type": "pong", "payload": {"at": [1, "\ud800"]}}
    await wire.send({"type": "ping"})
    assert await wire.read() == {"type": "pong"}
    await wire.send({"type": "pong", "payload": None})
    await wire.send({"type": "complete", "id": "nobody's"})
    await wire.subscribe("1", POLICY)
    assert (await wire.read())["type"] == "next"


async def test_a_ping_before_the_init_is_answered(node: Any) -> None:
    wire = await node.open()
    await wire.send({"type": "ping"})
    assert await wire.read() == {"type": "pong"}


# Closes


async def test_without_init_it_closes_with_4408(node: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("web.sockets.INIT_TIMEOUT", 0.2)
    wire = await node.open()
    assert await wire.closed() == 4408


async def test_an_operation_before_the_init_closes_with_4401(node: Any) -> None:
    wire = await node.open()
    await wire.subscribe("1", POLICY)
    assert await wire.closed() == 4401


async def test_a_second_init_closes_with_4429(node: Any) -> None:
    wire = await node.connect()
    await wire.send({"type": "connection_init"})
    assert await wire.closed() == 4429


async def test_an_id_in_use_closes_with_4409(node: Any) -> None:
    wire = await node.connect((await node.guest()).token)
    await wire.subscribe("1", EVENTS)
    await wire.subscribe("1", EVENTS)
    assert await wire.closed() == 4409


async def test_another_subprotocol_or_none_closes_with_4406(node: Any) -> None:
    for offered in (None, ["graphql-ws"], ["something", "else"]):
        wire = await node.open(subprotocols=offered)
        assert await wire.closed() == 4406, offered


async def test_beside_another_subprotocol_ours_is_taken(node: Any) -> None:
    wire = await node.open(subprotocols=["graphql-ws", "graphql-transport-ws"])
    assert wire.socket.subprotocol == "graphql-transport-ws"


MALFORMED = [
    "",
    "5",
    "null",
    "[]",
    '"x"',
    "{",
    "{}",
    '{"type": "start"}',
    '{"type": null}',
    '{"type": ["ping"]}',
    '{"type": "ping", "type": "pong"}',
    '{"type": "ping", "payload": 5}',
    '{"type": "pong", "payload": []}',
    '{"type": "ping", "payload": {"n": NaN}}',
    '{"type": "ping", "payload": {"n": 1e400}}',
    '{"type": "complete"}',
    '{"type": "complete", "id": ""}',
    '{"type": "subscribe", "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "\\ud800", "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "1"}',
    '{"type": "subscribe", "id": "1", "payload": "{ __typename }"}',
    '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": 1}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "extensions": 1}}',
    '{"type": "ping", "payload": ' + "[" * 30_000 + "]" * 30_000 + "}",
    b'{"type": "ping"}',
    b"\xff",
]


async def test_what_is_no_message_closes_with_4400(node: Any) -> None:
    for message in MALFORMED:
        wire = await node.connect()
        await wire.socket.send(message)
        assert await wire.closed() == 4400, message[:80]


CREDENTIALS = [
    5,
    [],
    "Bearer x",
    {"Authorization": None},
    {"Authorization": 5},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer ü"},
    {"Authorization": "Basic dXNlcjpwYXNz"},
    {"Authorization": "Bearer a", "authorization": "Bearer a"},
]


async def test_a_credential_that_cannot_be_read_closes_with_4400(node: Any) -> None:
    for payload in CREDENTIALS:
        wire = await node.open()
        await wire.send({"type": "connection_init", "payload": payload})
        assert await wire.closed() == 4400, payload


async def test_without_a_credential_one_is_nobody(node: Any) -> None:
    for payload in (None, {}, {"other": 5}):
        wire = await node.open()
        await wire.send({"type": "connection_init", "payload": payload})
        assert await wire.read() == {"type": "connection_ack"}
        await wire.subscribe("1", ME)
        assert (await wire.read())["payload"] == {"data": {"viewer": None}}


async def test_a_bad_token_closes_with_4401(node: Any) -> None:
    wire = await node.open()
    await wire.init("not.a.token")
    assert await wire.closed() == 4401
    assert wire.reason == "TOKEN_INVALID"


async def test_a_dead_token_closes_with_4401_and_says_why(node: Any) -> None:
    guest = await node.guest()
    await node.data("mutation { revokeSession { status } }", token=guest.token)
    wire = await node.open()
    await wire.init(guest.token)
    assert await wire.closed() == 4401
    assert wire.reason == "SESSION_REVOKED SIGNED_OUT"


async def test_a_header_on_the_upgrade_is_the_credential(node: Any) -> None:
    guest = await node.guest()
    header = {"Authorization": f"Bearer {guest.token}"}
    wire = await node.open(additional_headers=header)
    await wire.init()
    await wire.read()
    await wire.subscribe("1", ME)
    assert (await wire.read())["payload"]["data"]["viewer"]["id"] == guest.user_id
    beside = await node.open(additional_headers=header)
    await beside.init(guest.token)
    assert await beside.closed() == 4400
    bad = await node.open(additional_headers={"Authorization": "Bearer x"})
    await bad.init()
    assert await bad.closed() == 4401


@pytest.mark.parametrize("parts", [1, 7])
async def test_more_than_64_kb_close_with_1009(node: Any, parts: int) -> None:
    """And the frame that says so arrives, however much more is on its way."""
    wire = await node.connect()
    size = 3_000_000 // parts
    with suppress(ConnectionClosed):  # in the middle of it
        await wire.socket.send(["x" * size] * parts if parts > 1 else "x" * size)
    assert await wire.closed() == 1009


async def test_what_is_no_websocket_closes_with_1002_and_never_with_1006(node: Any) -> None:
    """Unmasked, compressed, of an unknown kind, a long ping; and text that is none with 1007."""
    broken = [b"\x81\x02hi", b"\xc1\x80" + bytes(4), b"\x83\x80" + bytes(4), b"\x89\xfe\x00\x7e"]
    for frame in broken:
        wire = await node.connect()
        wire.socket.transport.write(frame + bytes(200))
        assert await wire.closed() == 1002, frame
    wire = await node.connect()
    wire.socket.transport.write(b"\x81\x81" + bytes(4) + b"\xff")
    assert await wire.closed() == 1007


async def test_a_message_may_come_in_parts(node: Any) -> None:
    wire = await node.connect()
    await wire.socket.send(['{"type"', "", ': "ping"', "}"])
    assert await wire.read() == {"type": "pong"}


async def test_64_kb_are_a_message(node: Any) -> None:
    wire = await node.connect()
    text = json.dumps({"type": "ping", "payload": {"a": ""}})
    text = text.replace('""', '"' + "x" * (64 * 1024 - len(text)) + '"')
    await wire.socket.send(text)
    assert (await wire.read())["type"] == "pong"


# Before it is opened


async def test_a_page_of_another_origin_is_refused_before_the_upgrade(node: Any) -> None:
    for origin in ("https://evil.example", "null", "http://localhost", "http://127.0.0.1", "x"):
        with pytest.raises(InvalidStatus) as refused:
            await node.open(origin=origin)
        answer = refused.value.response
        assert answer.status_code == 403, origin
        assert json.loads(answer.body)["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert answer.headers["X-Request-Id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_page_of_ours_and_a_listed_one_are_let_in(start_node: Any) -> None:
    node = await start_node(ALLOWED_ORIGINS=("https://app.example.com",))
    for origin in (node.base, "https://app.example.com"):
        wire = await node.open(origin=origin)
        await wire.init()
        assert await wire.read() == {"type": "connection_ack"}


async def test_another_path_is_404(node: Any) -> None:
    for path in ("/", "/graphql/", "/healthz"):
        with pytest.raises(InvalidStatus) as refused:
            await node.open(path=path)
        assert refused.value.response.status_code == 404


async def test_too_many_from_an_address_are_refused_before_the_upgrade(start_node: Any) -> None:
    node = await start_node(SOCKETS_PER_ADDRESS=2)
    first, _ = await node.connect(), await node.connect()
    with pytest.raises(InvalidStatus) as refused:
        await node.open()
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"]
    await first.socket.close()
    await asyncio.sleep(0.1)
    await node.connect()


async def test_too_many_of_a_session_close_with_1008(node: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("live.connections.SOCKETS_PER_SESSION", 2)
    guest, other = await node.guest(), await node.guest()
    for _ in range(2):
        await node.connect(guest.token)
    third = await node.open()
    await third.init(guest.token)
    assert await third.closed() == 1008
    await node.connect(other.token)


async def test_an_operation_too_many_is_an_error_and_the_socket_stays(node: Any) -> None:
    wire = await node.connect((await node.guest()).token)
    for number in range(101):
        await wire.subscribe(f"{number}", EVENTS)
    refused = await wire.read()
    assert (refused["type"], refused["id"]) == ("error", "100")
    assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
    await wire.send({"type": "complete", "id": "7"})
    answered = "error"
    while answered == "error":  # until that one has ended
        await asyncio.sleep(0.05)
        await wire.subscribe("101", POLICY)
        answered = (await wire.read())["type"]
    assert answered == "next"


async def test_an_upgrade_that_cannot_be_read_is_answered(node: Any) -> None:
    """With 4xx, and the connection is closed."""
    lines = ["POST /graphql HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"]
    for extra in ([], ["X: " + "x" * 9000], ["Sec-WebSocket-Version: 7"]):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write("\r\n".join([*lines, *extra, "", ""]).encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 4")
        writer.close()
    await node.connect()
