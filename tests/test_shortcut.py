"""The short way: what was answered before is answered so again, and nothing else is."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from starlette.types import Receive, Scope, Send

from context import Context
from db.engine import Unavailable
from resolvers import users
from server.http import Protocol
from tests.conftest import ME, SLOW, Guest, Node, StartNode, UntilWaiting, mint
from tests.peer import Peer, request
from web import failures
from web.edge import Edge
from web.log_context import add_request
from web.shortcut import ASKED

LIST = """{ mySessions { id label isCurrent createdAt lastActiveAt expiresAt user { id }
    client { userAgent name os deviceType ipAddress } } }"""
JSON = b"Content-Type: application/json"

Own = dict[bytes, bytes]


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[Scope]:
    """The requests that went through the layers."""
    gone: list[Scope] = []
    passes_on = Edge.__call__

    async def note(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
        gone.append(scope)
        await passes_on(edge, scope, receive, send)

    monkeypatch.setattr(Edge, "__call__", note)
    return gone


@pytest.fixture
async def node(start_node: StartNode, request: pytest.FixtureRequest) -> Node:
    """A server; what a test changes of its settings is the fixture's parameter."""
    return await start_node(**getattr(request, "param", {}))


def set_to(**changes: Any) -> pytest.MarkDecorator:
    """A test's server has these settings."""
    return pytest.mark.parametrize("node", [changes], indirect=True)


IMPATIENT = set_to(DATABASE_TIMEOUT=1)
BEHIND_A_PROXY = set_to(TRUSTED_PROXIES=["127.0.0.1"])


@pytest.fixture
async def guest(node: Node, db: Any) -> Guest:
    return await active(node, db)


async def active(node: Node, db: Any) -> Guest:
    """A guest whose first use is written down."""
    guest = await node.client.guest()
    await db.execute("UPDATE user_sessions SET last_active_at = statement_timestamp()")
    return guest


@asynccontextmanager
async def sessions_locked(db: Any) -> AsyncIterator[None]:
    """Has every look-up wait for the end of the block."""
    async with db.transaction():
        await db.execute("LOCK TABLE user_sessions IN ACCESS EXCLUSIVE MODE")
        yield


class Known(Peer):
    """A client that sends the same again and again."""

    def ask(self, sent: bytes) -> tuple[int, Own, Any]:
        """One answer: its status, its headers without what each has of its own, its JSON."""
        self.socket.sendall(sent)
        status, headers, body = self.whole()
        assert len(headers.pop(b"x-request-id")) == 32
        headers.pop(b"date")
        return status, headers, body


async def make_use_due(db: Any) -> datetime:
    """Has the next use of every session noted; now."""
    await db.execute(
        "UPDATE user_sessions SET created_at = created_at - interval '2 h',"
        " authenticated_at = authenticated_at - interval '2 h',"
        " last_active_at = now() - interval '1 h'"
    )
    now: datetime = await db.fetchval("SELECT now()")
    return now


async def until_noted(db: Any, since: datetime) -> str:
    """Waits until a use since then is written down, as servers do within a second; its address."""
    async with asyncio.timeout(SLOW):
        while True:
            noted = await db.fetchrow(
                "SELECT abbrev(ip_address) AS at FROM user_sessions WHERE last_active_at > $1",
                since - timedelta(seconds=1),
            )
            if noted:
                return str(noted["at"])


def asking(query: str, token: str, *fields: bytes) -> bytes:
    """A request for an operation without variables."""
    body = json.dumps({"query": query}).encode()
    return request(body, JSON, b"Authorization: Bearer " + token.encode(), *fields)


def on_the_way(node: Node, sent: bytes, long_ways: list[Scope], own: str = "127.0.0.1") -> Known:
    """A client whose request goes the short way from now on."""
    peer = Known(node.base, own)
    told = [peer.ask(sent) for _ in range(5)]
    assert told == [told[0]] * 5
    assert told[0][0] == 200
    gone = len(long_ways)
    assert peer.ask(sent) == told[0]
    assert len(long_ways) == gone
    return peer


FIELDS: list[tuple[bytes, ...]] = [
    (),
    (b"Accept: application/json",),
    (b"Origin: http://localhost:3000",),
    (b"X-Forwarded-Proto: https", b"X-Forwarded-For: 198.51.100.7"),
    (b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Firefox/144.0",),
]
QUERIES = [ME, LIST, "{ a: viewer { b: id } currentSession { label } }"]


@pytest.mark.parametrize("compile_after", [0, 1])
async def test_the_short_way_leads_to_the_same_answer(
    compile_after: int, start_node: StartNode, db: Any, long_ways: list[Scope]
) -> None:
    node = await start_node(
        GRAPHQL_COMPILE_AFTER=compile_after, ALLOWED_ORIGINS=["http://localhost:3000"]
    )
    guest = await active(node, db)
    for query, fields in product(QUERIES, FIELDS):
        sent = asking(query, guest.token, *fields)
        first = Known(node.base)
        gone = len(long_ways)
        told = first.ask(sent)
        assert len(long_ways) == gone + 1
        first.socket.close()
        again = on_the_way(node, sent, long_ways)
        assert again.ask(sent) == told
        again.socket.close()


async def test_the_next_answer_to_another_body_and_caller_is_its_own(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope]
) -> None:
    other = await active(node, db)
    sent = asking(ME, guest.token)
    for_me = on_the_way(node, sent, long_ways)
    for_other = on_the_way(node, asking(ME, other.token), long_ways)
    assert for_me.ask(sent)[2]["data"]["viewer"]["id"] == guest.user_id
    assert for_other.ask(asking(ME, other.token))[2]["data"]["viewer"]["id"] == other.user_id
    same_length = sent.replace(b"{ viewer { id username } }", b"{ viewer { id isGuest  } }")
    answers = [for_me.ask(same_length)[2] for _ in range(3)]
    assert answers == [{"data": {"viewer": {"id": guest.user_id, "isGuest": True}}}] * 3
    for_me.socket.close()
    for_other.socket.close()


async def test_what_ends_a_session_ends_the_short_way(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope]
) -> None:
    second = await active(node, db)
    ends = {
        "SESSION_REVOKED": "UPDATE user_sessions SET revoked_at = now(),"
        " revoked_reason = 'SIGNED_OUT' WHERE id = $1",
        "SESSION_EXPIRED": "UPDATE user_sessions SET revoked_at = NULL, revoked_reason = NULL,"
        " created_at = now() - interval '3 h', last_active_at = now() - interval '2 h',"
        " authenticated_at = now() - interval '3 h', expires_at = now() - interval '1 s'"
        " WHERE id = $1",
        "SESSION_NOT_FOUND": "DELETE FROM user_sessions WHERE id = $1",
    }
    peer = on_the_way(node, sent := asking(LIST, guest.token), long_ways)
    for reason, ended in ends.items():
        await db.execute(ended, UUID(guest.session_id))
        status, headers, told = peer.ask(sent)
        assert (status, told["errors"][0]["extensions"]["reason"]) == (401, reason)
        assert b"www-authenticate" in headers
    peer.socket.close()
    peer = on_the_way(node, sent := asking(ME, second.token), long_ways)
    disable = "UPDATE users SET disabled_at = now() WHERE id = $1"
    await db.execute(disable, UUID(second.user_id))
    assert peer.ask(sent)[2]["errors"][0]["extensions"]["reason"] == "USER_DISABLED"
    peer.socket.close()


async def test_a_token_ends_in_its_time(node: Node, guest: Guest, long_ways: list[Scope]) -> None:
    now = datetime.now(UTC)
    token = mint(
        {
            "user_id": UUID(guest.user_id),
            "id": UUID(guest.session_id),
            "created_at": now,
            "expires_at": now + timedelta(seconds=3),
        }
    )
    peer = on_the_way(node, sent := asking(ME, token), long_ways)
    status, told = 200, None
    async with asyncio.timeout(SLOW):
        while status == 200:
            await asyncio.sleep(0.1)
            status, _, told = peer.ask(sent)
    assert told
    assert told["errors"][0]["extensions"]["reason"] == "TOKEN_EXPIRED"
    peer.socket.close()


async def test_a_use_is_noted_with_its_address(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope]
) -> None:
    """Where a use is to be written down, and from another address, the way is the long one."""
    sent = asking(ME, guest.token)
    here = on_the_way(node, sent, long_ways)
    there = on_the_way(node, sent, long_ways, own="127.0.0.2")
    before, gone = await make_use_due(db), len(long_ways)
    assert there.ask(sent)[0] == 200
    assert len(long_ways) == gone + 1
    assert await until_noted(db, before) == "127.0.0.2"
    here.socket.close()
    there.socket.close()


@IMPATIENT
async def test_a_sick_database_is_told_apart_and_asked_once(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope]
) -> None:
    peer = on_the_way(node, sent := asking(ME, guest.token), long_ways)
    async with sessions_locked(db):
        began = time.monotonic()
        status, headers, told = await asyncio.to_thread(peer.ask, sent)
        assert time.monotonic() - began < 2
    assert (status, told["errors"][0]["extensions"]["code"]) == (503, "SESSION_STORE_UNAVAILABLE")
    assert b"retry-after" in headers
    assert peer.ask(sent)[0] == 200
    peer.socket.close()


async def test_requests_behind_one_on_the_short_way_wait_for_their_turn(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope], until_waiting: UntilWaiting
) -> None:
    sent = asking(ME, guest.token)
    peer = on_the_way(node, sent, long_ways)
    async with sessions_locked(db):
        peer.socket.sendall(sent)
        await until_waiting()
        peer.socket.sendall(asking(LIST, guest.token))
        peer.socket.sendall(sent)
        await asyncio.sleep(0.2)
    told = [(await asyncio.to_thread(peer.answer))[1]["data"] for _ in range(3)]
    assert [list(data) for data in told] == [["viewer"], ["mySessions"], ["viewer"]]
    assert peer.ask(sent)[2]["data"] == told[0]
    peer.socket.close()


async def test_a_use_counts_although_who_asked_has_hung_up(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope], until_waiting: UntilWaiting
) -> None:
    sent = asking(ME, guest.token)
    peer = on_the_way(node, sent, long_ways)
    before = await make_use_due(db)
    async with sessions_locked(db):
        peer.socket.sendall(sent)
        await until_waiting()
        peer.socket.close()
        await asyncio.sleep(0.2)
    await until_noted(db, before)


async def test_answers_end_their_connections_when_the_server_leaves(
    node: Node, guest: Guest, long_ways: list[Scope]
) -> None:
    sent = asking(ME, guest.token)
    peer = on_the_way(node, sent, long_ways)
    node.client.application.state.departure.begin(announced=True)
    status, headers, _ = peer.ask(sent)
    assert (status, headers[b"connection"]) == (200, b"close")
    peer.socket.close()


class Lines:
    """Takes the place of a module's logger."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    def error(self, event: str, **more: Any) -> None:
        """Takes a line, with what its request adds."""
        self.written.append(add_request(None, "", {"event": event, **more}))


@BEHIND_A_PROXY
async def test_what_fails_is_told_by_the_long_way_and_written_down_once(
    node: Node, guest: Guest, long_ways: list[Scope], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = asking(ME, guest.token, b"X-Forwarded-For: 198.51.100.7")
    peer = on_the_way(node, sent, long_ways)
    lines = Lines()

    def fail(*_: object) -> Any:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(users, "to_user", fail)
        patched.setattr(failures, "log", lines)
        peer.socket.sendall(sent)
        status, headers, told = peer.whole()
        assert peer.ask(sent)[2] == told
    assert (status, told["data"]) == (200, {"viewer": None})
    assert told["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert [line["address"] for line in lines.written] == ["198.51.100.0/24"] * 2
    assert lines.written[0]["request_id"] == headers[b"x-request-id"].decode()
    assert peer.ask(sent)[2]["data"]["viewer"]["id"] == guest.user_id
    peer.socket.close()


@BEHIND_A_PROXY
async def test_what_a_resolver_logs_names_the_client_behind_a_proxy(
    node: Node, guest: Guest, long_ways: list[Scope], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = asking(ME, guest.token, b"X-Forwarded-For: 198.51.100.7")
    peer = on_the_way(node, sent, long_ways)
    lines, to_user = Lines(), users.to_user

    def tell(row: Any) -> Any:
        lines.error("seen")
        return to_user(row)

    monkeypatch.setattr(users, "to_user", tell)
    gone = len(long_ways)
    peer.socket.sendall(sent)
    _, headers, _ = peer.whole()
    assert len(long_ways) == gone
    [line] = lines.written
    assert line["address"] == "198.51.100.0/24"
    assert line["request_id"] == headers[b"x-request-id"].decode()
    peer.socket.close()


async def test_what_one_caller_is_refused_at_once_is_no_bug_when_another_waits_for_it(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope], monkeypatch: pytest.MonkeyPatch
) -> None:
    administrator = await active(node, db)
    await db.execute(
        "UPDATE users SET role = 'ADMIN', is_guest = false WHERE id = $1",
        UUID(administrator.user_id),
    )
    everybody = "{ sessions(first: 1) { edges { node { id } } } }"
    own = f"{ME:<{len(everybody)}}"  # as long, so that both have the same head
    lines = Lines()
    monkeypatch.setattr(failures, "log", lines)
    refused = []
    for caller in (guest, administrator):
        sent = asking(own, caller.token)
        peer = on_the_way(node, sent, long_ways)
        head, _, _ = sent.partition(b"\r\n\r\n")
        body = json.dumps({"query": everybody}).encode()
        told = [peer.ask(head + b"\r\n\r\n" + body)[2] for _ in range(4)]
        refused += ["errors" in answer for answer in told]
        peer.socket.close()
    assert refused == [True] * 4 + [False] * 4
    assert lines.written == []


async def test_what_must_be_waited_for_goes_on_where_it_was_begun(
    node: Node, guest: Guest, long_ways: list[Scope], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list whose sessions were not read along after all."""
    sent = asking(LIST, guest.token)
    peer = on_the_way(node, sent, long_ways)
    answer = peer.ask(sent)
    services = node.client.services
    object.__setattr__(services, "found_with_live", services.found)
    gone = len(long_ways)
    assert peer.ask(sent) == answer  # the database is asked by a task
    assert len(long_ways) == gone + 1
    begun: list[str] = []

    async def read(*_: object) -> Any:
        begun.append("begun")
        await asyncio.sleep(0.01)
        begun.append("done")
        return []

    monkeypatch.setattr(Context, "read", read)
    empty = [peer.ask(sent)[2] for _ in range(4)]
    assert empty == [{"data": {"mySessions": []}}] * 4
    assert begun == ["begun", "done"] * 4
    peer.socket.close()


async def test_an_idle_connection_keeps_no_rows(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope]
) -> None:
    sent = asking(LIST, guest.token)
    peer = on_the_way(node, sent, long_ways)
    await make_use_due(db)
    for _ in range(2):  # the long way and the short one
        assert peer.ask(sent)[0] == 200
        served = [one for one in gc.get_objects() if isinstance(one, Protocol)]
        assert [one for one in served if ASKED in one.scope or one._short] == []
    peer.socket.close()


@IMPATIENT
async def test_a_refusal_leaves_nothing_for_the_garbage_collector(
    node: Node, guest: Guest, db: Any, long_ways: list[Scope]
) -> None:
    sent = asking(ME, guest.token)
    peer = on_the_way(node, sent, long_ways)
    gc.collect()
    gc.disable()
    try:
        async with sessions_locked(db):
            assert (await asyncio.to_thread(peer.ask, sent))[0] == 503
        long_ways.clear()
        assert peer.ask(sent)[0] == 200
        await asyncio.sleep(0.1)
        assert [one for one in gc.get_objects() if isinstance(one, Unavailable)] == []
    finally:
        gc.enable()
    peer.socket.close()
