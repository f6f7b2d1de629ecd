"""Heads that were read before: the same request is the same, and nothing else is taken for it."""

import asyncio
import gc
import json
import select
import socket
import struct
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app import create_app
from server import heads
from server.http import Protocol
from tests.peer import NUMBERS, Peer, request
from web.shortcut import CONNECTION

ServeApp = Callable[..., str]

OF_THE_CONNECTION = {"server", "client", "head", "body", "bigtwo.head_is_sound", CONNECTION}


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    told = {name: repr(scope[name]) for name in sorted(scope.keys() - OF_THE_CONNECTION)}
    answer = json.dumps(told | {"body": repr(body)}).encode()
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def application(make_settings: Callable[..., Any]) -> Starlette:
    return create_app(make_settings())


@pytest.fixture
def peer(serve_app: ServeApp) -> Iterator[Peer]:
    connected = Peer(serve_app(mirror))
    with connected.socket:
        yield connected


@pytest.mark.parametrize(
    "sent",
    [
        request(b"{}"),
        request(b""),
        request(b'{"query":"\r\n\r\n"}', b"Authorization: Bearer x"),
        request(b"x" * 20_000, b"Cookie: a", b"Cookie: b"),
        request(b"{}", line=b"POST /a%20b?c=d HTTP/1.1"),
        request(b"{}", b"X-Odd: \xe4"),
        b"\r\n" + request(b"{}"),
        request(b"{}").replace(b"Length: 2", b"Length: " + b"0" * 5000 + b"2"),
        request(b"").replace(b"Length: 0", b"Length: 0 \t"),
    ],
)
def test_a_request_that_comes_again_is_told_as_the_first_time(peer: Peer, sent: bytes) -> None:
    first = peer.send(sent)
    assert heads.find(sent) is None
    assert peer.send(sent) == first
    assert heads.find(sent) is not None
    assert peer.send(sent) == first == peer.send(sent[:100], sent[100:])


def test_a_known_head_may_be_followed_by_another_body(peer: Peer) -> None:
    sent = request(b'{"query":"a"}')
    peer.send(sent)
    assert peer.send(sent)[1]["body"] == repr(b'{"query":"a"}')
    assert peer.send(sent.replace(b'"a"', b'"b"'))[1]["body"] == repr(b'{"query":"b"}')


@pytest.mark.parametrize(
    "sent",
    [
        request(b"{}", b"Connection: keep-alive"),
        request(b"{}", b"Proxy-Connection: keep-alive"),  # its close is one to httptools too
        request(b"{}", b"Expect: 100-continue")[:-2],
        request(b"", line=b"GET /graphql HTTP/1.1"),
        request(b"{}") + request(b"{}"),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        request(b"{}").replace(b"Host: a.example\r\n", b""),
        request(b"{}", *[b"X-Many: 1"] * 100),
    ],
)
def test_what_is_more_than_one_usual_request_is_read_every_time(peer: Peer, sent: bytes) -> None:
    for _ in range(3):
        if b"Expect" in sent:
            peer.socket.sendall(sent)
            assert peer.socket.recv(100).startswith(b"HTTP/1.1 100 ")
            peer.send(b"{}")
        else:
            peer.send(sent)
        assert heads.find(sent) is None


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /%d HTTP/1.1\r\nHost:a\r\n\r\n" % next(NUMBERS),
        request(b"", *[b"%x:" % n for n in range(97)]),
        request(b"", *[b"%x:" % n for n in range(30)], b"Authorization: Bearer " + b"x" * 500),
        request(b"", b"X-Long: " + b"x" * 10_000),
    ],
)
def test_a_kept_head_takes_no_more_than_it_counts(peer: Peer, sent: bytes) -> None:
    for _ in range(2):
        peer.send(sent)
    found = heads.find(sent)
    assert found
    assert sys.getsizeof(sent) + taken(found[0], set()) <= heads.size(sent)


def taken(value: Any, seen: set[int]) -> int:
    """Bytes of memory of a value and all that is in it, but for the names of its members."""
    if id(value) in seen or isinstance(value, str):
        return 0
    seen.add(id(value))
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    of_parts = 0 if isinstance(value, bytes | bool) else sum(taken(part, seen) for part in parts)
    return sys.getsizeof(value) + of_parts


def test_known_requests_in_one_packet_are_answered_in_their_order(peer: Peer) -> None:
    one, two = request(b'{"a":1}'), request(b'{"b":2}')
    answers = [peer.send(one), peer.send(two)]
    assert answers == [peer.send(one), peer.send(two)]
    assert heads.find(one)
    assert heads.find(two)
    peer.socket.sendall(one + two + one)
    assert [peer.answer() for _ in range(3)] == [*answers, answers[0]]
    peer.socket.sendall(one)
    peer.socket.sendall(two)
    assert [peer.answer(), peer.answer()] == answers


def test_the_beginning_of_a_known_request_waits_for_its_end(peer: Peer) -> None:
    sent = request(b'{"query":"x"}')
    first = peer.send(sent)
    assert peer.send(sent) == first
    assert heads.find(sent)
    for at in (5, len(sent) - 13, len(sent) - 3):
        assert peer.send(sent[:at], sent[at:]) == first


def test_a_known_head_proves_nothing_about_the_session(
    application: Starlette, serve_app: ServeApp
) -> None:
    peer = Peer(serve_app(application))

    def ask(query: str, *fields: bytes) -> bytes:
        body = json.dumps({"query": query}).encode()
        return request(body, b"Content-Type: application/json", *fields)

    with peer.socket:
        _, begun = peer.send(ask("mutation { createSession { token } }"))
        bearer = b"Authorization: Bearer " + begun["data"]["createSession"]["token"].encode()
        mine = ask("{ viewer { isGuest } }", bearer)
        for _ in range(4):
            assert peer.send(mine) == (200, {"data": {"viewer": {"isGuest": True}}})
        assert heads.find(mine)
        peer.send(ask("mutation { revokeSession { status } }", bearer))
        status, refused = peer.send(mine)
        assert status == 401
        assert refused["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"


def test_a_known_head_is_anothers_with_another_address(
    serve_app: ServeApp, application: Starlette
) -> None:
    """The address is the connection's, never what came with the head."""
    url = serve_app(application)
    body = json.dumps({"query": "mutation { createSession { session { client { ipAddress } } } }"})
    sent = request(body.encode(), b"Content-Type: application/json")
    told = []
    for own in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"):
        peer = Peer(url, own)
        with peer.socket:
            _, answer = peer.send(sent)
        told.append(answer["data"]["createSession"]["session"]["client"]["ipAddress"])
    assert told == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"]
    assert heads.find(sent)


@asynccontextmanager
async def serving(app: ASGIApp, http: type[Protocol] = Protocol) -> AsyncIterator[int]:
    """A server that closes idle connections after a second; its port."""
    config = uvicorn.Config(
        app, http=http, port=0, timeout_keep_alive=1, log_config=None, lifespan="off"
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


def watched(tell: Callable[[Protocol], None]) -> type[Protocol]:
    """A protocol that tells of every connection."""

    class Watched(Protocol):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            tell(self)

    return Watched


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def test_a_connection_is_closed_when_it_was_idle_and_not_before() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await answer(send)

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = request(b"{}")
        for _ in range(6):  # the first two are read, the others known
            writer.write(sent)
            await reader.readuntil(b"{}")
            await asyncio.sleep(0.4)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_is_reset_while_a_request_is_under_way_is_forgotten() -> None:
    made: weakref.WeakSet[Protocol] = weakref.WeakSet()
    asked, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        asked.set()
        await go_on.wait()
        await answer(send)

    async with serving(app, watched(made.add)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = request(b"{}")
        for _ in range(3):
            writer.write(sent)
            await reader.readuntil(b"{}")
        asked.clear()
        go_on.clear()
        writer.write(sent)
        await asked.wait()
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.close()
        del reader, writer
        await asyncio.sleep(0.2)
        go_on.set()
        async with asyncio.timeout(20):
            while made:
                await asyncio.sleep(0.2)
                gc.collect()


async def test_an_upgrade_before_an_answer_is_refused(peer: Peer) -> None:
    """Frames would come between answers, or before one."""
    upgrade = b"GET /graphql HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n"
    upgrade += b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    status, told = peer.send(request(b"{}") + upgrade)
    assert (status, told["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert peer.socket.recv(1) == b""


def garbage(protocol: Protocol) -> None:
    protocol.data_received(b"NOT HTTP\r\n\r\n")


def end_of_requests(protocol: Protocol) -> None:
    protocol.eof_received()
    protocol.transport.close()  # as every event loop does then


def shutdown(protocol: Protocol) -> None:
    protocol.shutdown()


@pytest.mark.parametrize("happens", [garbage, end_of_requests, shutdown])
async def test_what_happens_in_the_turn_of_an_answer_comes_after_it(
    happens: Callable[[Protocol], None],
) -> None:
    made: list[Protocol] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await answer(send)
        [protocol] = made
        happens(protocol)

    async with serving(app, watched(made.append)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(b"{}"))
        async with asyncio.timeout(20):
            told = await reader.read()
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert told.count(b"HTTP/1.1") == (2 if happens is garbage else 1)
        writer.close()


async def test_answers_of_one_turn_leave_one_right_after_the_other() -> None:
    """None wakes a client while others are still worked out."""
    loop = asyncio.get_running_loop()
    clients = [socket.socket() for _ in range(3)]
    all_asked = asyncio.Barrier(len(clients))
    come_early: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await all_asked.wait()
        await answer(send)
        come_early.append(len(select.select(clients, [], [], 0)[0]))

    async with serving(app) as port, asyncio.timeout(20):
        for client in clients:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, request(b"{}"))
        for client in clients:
            assert (await loop.sock_recv(client, 65536)).endswith(b"{}")
            client.close()
    assert come_early == [0, 0, 0]
