"""What reaches open sockets: the end of their session, and what happens to the user's others.

Two servers on one database are two workers: each has its own loop, pool, watch and bus.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from db.engine import Database
from db.sessions import Key
from live.held import LOST_AFTER, SPREAD, Held
from live.watch import Watch
from settings import ROOT, Settings

SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"
SIGN_OUT = "mutation { revokeSession { status } }"
REVOKE = "mutation($id: ID!) { revokeSession(id: $id) { status } }"
RENAME = 'mutation($id: ID!) { renameSession(id: $id, label: "new name") { session { id } } }'
EVENTS = "subscription { mySessionEvents { kind session { id label status revokedReason } } }"
MINE = "{ mySessions { id } }"
POLICY = "{ sessionPolicy { retention } }"
BUS = "application_name = 'bigtwo-sessions-bus' AND datname = current_database()"

Nodes = tuple[Any, Any]


@pytest.fixture
async def nodes(start_node: Any) -> Nodes:
    """Two workers."""
    one, two = await asyncio.gather(start_node(), start_node())
    await asyncio.gather(listening(one), listening(two))
    return one, two


async def listening(node: Any) -> None:
    """Waits until a node hears the others."""
    await until(lambda: node.services.live.bus.is_listening)


async def until(check: Callable[[], object]) -> None:
    """Waits until something holds."""
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - what is looked at lives in another thread
            await asyncio.sleep(0.02)


@pytest.fixture
def only_told(monkeypatch: Any) -> None:
    """Nobody reads rows again but who is told to: what reaches a socket came over the bus."""
    for name in ("watch.INTERVAL", "held.SILENT_AFTER", "held.LOST_AFTER"):
        monkeypatch.setattr(f"live.{name}", 60.0)


async def event_stream(node: Any, token: str) -> Any:
    """A socket with a subscription that is told what comes from now on."""
    wire = await node.connect(token)
    await wire.subscribe("events", EVENTS)
    await wire.subscribe("ready", MINE)  # waits until the subscription knows what was before
    assert [(await wire.read())["type"] for _ in range(2)] == ["next", "complete"]
    return wire


async def event(wire: Any) -> tuple[str, str]:
    """The next event: its kind, and whose it is."""
    payload = (await wire.read())["payload"]["data"]["mySessionEvents"]
    return payload["kind"], payload["session"]["id"]


async def closes_within(seconds: float, wire: Any) -> list[Any]:
    """All that a socket still says until it closes with 4401."""
    async with asyncio.timeout(seconds):
        said: list[Any] = await wire.rest()
    assert wire.socket.close_code == 4401
    return said


# The end of a session


@pytest.mark.usefixtures("only_told")
async def test_a_revocation_on_another_worker_ends_what_is_under_way_and_closes(
    nodes: Nodes,
) -> None:
    one, two = nodes
    guest = await one.guest()
    other = await one.device(guest)
    wire = await event_stream(two, other.token)
    await wire.subscribe("more", EVENTS)
    await asyncio.sleep(0.2)
    await one.data(REVOKE, token=guest.token, id=other.session_id)
    said = await closes_within(1, wire)
    assert sorted((m["type"], m["id"]) for m in said) == [("error", "events"), ("error", "more")]
    for message in said:
        told = message["payload"][0]["extensions"]
        assert (told["code"], told["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        assert told["revokedReason"] == "REVOKED_BY_USER"
    assert wire.reason == "SESSION_REVOKED REVOKED_BY_USER"
    assert two.services.live.latency.take().count == 1


Act = Callable[[Any, Any, Any], Awaitable[None]]


async def by_others(node: Any, guest: Any, other: Any) -> None:
    await node.data("mutation { revokeOtherSessions { revokedCount } }", token=other.token)
    del guest


async def by_all(node: Any, guest: Any, other: Any) -> None:
    await node.data("mutation { revokeAllSessions { revokedCount } }", token=guest.token)
    del other


async def by_claim(node: Any, guest: Any, other: Any) -> None:
    claim = """mutation { claimAccount(username: "somebody", password: "seven odd otters juggle") {
        token } }"""
    await node.data(claim, token=other.token)
    del guest


async def by_deletion(node: Any, guest: Any, other: Any) -> None:
    name = (await node.data("{ viewer { username } }", token=other.token))["viewer"]["username"]
    erase = "mutation($name: String!) { deleteAccount(confirmUsername: $name) { deleted } }"
    await node.data(erase, token=other.token, name=name)
    del guest


async def by_replacement(node: Any, guest: Any, other: Any) -> None:
    made = await node.data("mutation { createLinkCode { code } }", token=other.token)
    sign_in = """mutation($code: String!) {
        createSession(input: { credentials: { linkCode: { code: $code } } }) { token } }"""
    code = made["createLinkCode"]["code"]
    assert (await node.data(sign_in, token=guest.token, code=code))["createSession"]["token"]


async def by_rest(node: Any, guest: Any, other: Any) -> None:
    header = {"Authorization": f"Bearer {guest.token}"}
    assert (await node.client.http.delete("/session", headers=header)).status_code == 204
    del other


@pytest.mark.usefixtures("only_told")
@pytest.mark.parametrize("act", [by_others, by_all, by_claim, by_deletion, by_replacement, by_rest])
async def test_whatever_ends_a_session_closes_its_sockets_on_every_worker(
    nodes: Nodes, act: Act
) -> None:
    one, two = nodes
    guest = await one.guest()
    other = await one.device(guest)
    wires = [await node.connect(guest.token) for node in nodes]
    await asyncio.sleep(0.2)
    await act(two, guest, other)
    for wire in wires:
        assert await closes_within(1, wire) == []


@pytest.mark.usefixtures("only_told")
@pytest.mark.parametrize(
    "act",
    [
        "mutation($id: ID!) { revokeSessions(filter: { userId: $id }) { revokedCount } }",
        "mutation($id: ID!) { setUserDisabled(id: $id, disabled: true) { status } }",
    ],
)
async def test_what_an_administrator_ends_closes_its_sockets(
    nodes: Nodes, db: Any, act: str
) -> None:
    one, two = nodes
    guest, admin = await one.guest(), await one.guest()
    await db.execute(
        "UPDATE users SET role = 'ADMIN', is_guest = false WHERE id = $1", UUID(admin.user_id)
    )
    wires = [await node.connect(guest.token) for node in nodes]
    await asyncio.sleep(0.2)
    await two.data(act, token=admin.token, id=guest.user_id)
    for wire in wires:
        assert await closes_within(1, wire) == []


@pytest.mark.usefixtures("only_told")
async def test_who_makes_room_for_a_new_session_is_closed(start_node: Any) -> None:
    one, two = [await start_node(SESSION_MAX_PER_USER=2) for _ in range(2)]
    await listening(two)
    guest = await one.guest()
    wire = await two.connect(guest.token)
    await asyncio.sleep(0.2)
    other = await one.device(guest)
    await one.device(other)
    assert await closes_within(1, wire) == []
    assert wire.reason == "SESSION_REVOKED SESSION_LIMIT"


@pytest.mark.usefixtures("only_told")
@pytest.mark.parametrize(
    "command",
    [("users", "disable", "{user}"), ("sessions", "revoke", "--user", "{user}", "--apply")],
)
async def test_an_operators_command_closes_sockets(
    nodes: Nodes, database_url: str, command: tuple[str, ...]
) -> None:
    guest = await nodes[0].guest()
    wire = await nodes[0].connect(guest.token)
    await asyncio.sleep(0.2)
    words = [word.format(user=guest.user_id) for word in command]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "app.py", *words),
        cwd=ROOT,
        env=environment(DATABASE_URL=database_url),
        stdout=subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    await closes_within(1, wire)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DELETE FROM user_sessions WHERE id = $1", "SESSION_NOT_FOUND"),
        (
            """UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_ADMIN'
               WHERE id = $1""",
            "SESSION_REVOKED REVOKED_BY_ADMIN",
        ),
        (
            """UPDATE users SET disabled_at = now()
               WHERE id = (SELECT user_id FROM user_sessions WHERE id = $1)""",
            "USER_DISABLED",
        ),
    ],
)
async def test_a_row_changed_by_hand_closes_its_sockets_within_two_seconds(
    start_node: Any, db: Any, change: str, reason: str
) -> None:
    node = await start_node()
    guest = await node.guest()
    wire = await node.connect(guest.token)
    await db.execute(change, UUID(guest.session_id))
    await closes_within(2, wire)
    assert wire.reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("expires_at = now() + interval '1.5 s'", "SESSION_EXPIRED"),
        (
            """idle_timeout = interval '1 s', idle_timeout_once_used = NULL,
               activity_resolution = interval '1 s'""",
            "SESSION_IDLE",
        ),
    ],
)
async def test_a_clock_closes_sockets_at_its_time(
    start_node: Any, db: Any, change: str, reason: str
) -> None:
    node = await start_node()
    guest = await node.guest()
    wire = await node.connect(guest.token)
    await db.execute(
        f"UPDATE user_sessions SET created_at = now() - interval '1 h', last_active_at = now(),"
        f" {change} WHERE id = $1",
        UUID(guest.session_id),
    )
    began = time.monotonic()
    await closes_within(5, wire)
    assert time.monotonic() - began > 0.5
    assert wire.reason == reason


async def test_the_operation_that_ended_its_own_session_is_answered_first(nodes: Nodes) -> None:
    """Then the others get the error, then it closes."""
    for _ in range(10):
        guest = await nodes[0].guest()
        wire = await event_stream(nodes[0], guest.token)
        await wire.subscribe("out", SIGN_OUT)
        said = await closes_within(2, wire)
        assert [(m["id"], m["type"]) for m in said] == [
            ("out", "next"),
            ("out", "complete"),
            ("events", "error"),
        ]
        assert said[0]["payload"]["data"]["revokeSession"]["status"] == "REVOKED"


async def test_a_new_token_arrives_before_the_close(nodes: Nodes) -> None:
    guest = await nodes[0].guest()
    wire = await nodes[0].connect(guest.token)
    await wire.subscribe(
        "claim",
        'mutation { claimAccount(username: "somebody", password: "seven odd otters juggle") {'
        " token session { id } } }",
    )
    said = await closes_within(5, wire)
    assert wire.reason == "SESSION_REVOKED SUPERSEDED"
    assert [m["type"] for m in said] == ["next", "complete"]
    token = said[0]["payload"]["data"]["claimAccount"]["token"]
    await nodes[1].connect(token)


async def test_an_event_that_was_being_made_ready_is_not_told_after_the_end(
    start_node: Any, database_url: str, db: Any, monkeypatch: Any
) -> None:
    """A mutation under way delays the errors; the subscription has ended all the same."""
    monkeypatch.setattr("web.sockets.ANSWER_FIRST", 20.0)
    node = await start_node()
    guest = await node.guest()
    other = await node.device(guest)
    wire = await event_stream(node, guest.token)
    await wire.subscribe(
        "slow", "subscription { mySessionEvents { session { user { identities { id } } } } }"
    )
    await wire.subscribe("seen", MINE)
    assert [(await wire.read())["type"] for _ in range(2)] == ["next", "complete"]
    (held,) = node.services.live.watch._by_user[UUID(guest.user_id)]
    async with locking(database_url, "SELECT FROM users FOR UPDATE"):
        async with locking(database_url, "LOCK TABLE identities IN ACCESS EXCLUSIVE MODE"):
            await db.execute(
                "UPDATE user_sessions SET label = 'new' WHERE id = $1", UUID(other.session_id)
            )
            assert (await wire.read())["id"] == "events"  # the slow one waits for the table
            await wire.subscribe("rename", RENAME, id=other.session_id)
            await until(lambda: node.services.live.busy)
            await db.execute(
                "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'SIGNED_OUT'"
                " WHERE id = $1",
                UUID(guest.session_id),
            )
            await until(lambda: all(feed._is_closed for feed in held.feeds))
        await asyncio.sleep(0.3)  # the event is ready now, the mutation still waits
    assert {message["type"] for message in await wire.rest()} == {"error"}


@asynccontextmanager
async def locking(database_url: str, statement: str) -> AsyncIterator[None]:
    """Another's transaction that has done this."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(statement)
        yield
    finally:
        await connection.close()


async def test_an_operation_of_a_dead_session_takes_the_socket_along(
    start_node: Any, db: Any, monkeypatch: Any
) -> None:
    """Each one passes the door, so nothing runs although the watch has not looked yet."""
    monkeypatch.setattr("live.watch.INTERVAL", 60.0)
    node = await start_node()
    await listening(node)
    guest = await node.guest()
    wire = await node.connect(guest.token)
    await asyncio.sleep(0.3)
    await db.execute("DELETE FROM user_sessions WHERE id = $1", UUID(guest.session_id))
    await wire.subscribe("1", "mutation { createLinkCode { code } }")
    (refused,) = await closes_within(2, wire)
    assert (refused["id"], refused["type"]) == ("1", "error")
    assert refused["payload"][0]["extensions"]["reason"] == "SESSION_NOT_FOUND"


async def test_an_open_socket_is_no_activity_and_an_operation_is(start_node: Any, db: Any) -> None:
    node = await start_node()
    guest = await node.guest()
    wire = await node.connect(guest.token)
    await asyncio.sleep(1.2)
    aged = "UPDATE user_sessions SET last_active_at = now() - interval '5 min'"
    await db.execute(aged)
    old = await db.fetchval("SELECT last_active_at FROM user_sessions")
    await wire.send({"type": "ping"})
    await asyncio.sleep(1.5)
    assert await db.fetchval("SELECT last_active_at FROM user_sessions") == old
    await wire.subscribe("1", MINE)
    await asyncio.sleep(1.5)
    assert await db.fetchval("SELECT last_active_at FROM user_sessions") > old


# Events


@pytest.mark.usefixtures("only_told")
async def test_events_tell_what_happens_to_ones_other_sessions(nodes: Nodes) -> None:
    one, two = nodes
    guest = await one.guest()
    wire = await event_stream(two, guest.token)
    other = await one.device(guest)
    assert await event(wire) == ("CREATED", other.session_id)
    await one.data(RENAME, token=guest.token, id=other.session_id)
    assert await event(wire) == ("UPDATED", other.session_id)
    await one.data(MINE, token=other.token)  # activity
    await one.data(RENAME, token=other.token, id=guest.session_id)  # one's own
    await one.data(REVOKE, token=guest.token, id=other.session_id)
    assert await event(wire) == ("REVOKED", other.session_id)


async def test_a_deleted_row_is_revoked_as_it_was_last_and_a_clocks_end_is_told(
    nodes: Nodes, db: Any
) -> None:
    guest = await nodes[0].guest()
    gone, expired = await nodes[0].device(guest), await nodes[0].device(guest)
    wire = await event_stream(nodes[1], guest.token)
    await db.execute("DELETE FROM user_sessions WHERE id = $1", UUID(gone.session_id))
    told = (await wire.read())["payload"]["data"]["mySessionEvents"]
    assert (told["kind"], told["session"]["id"]) == ("REVOKED", gone.session_id)
    assert told["session"]["label"]
    await db.execute(
        "UPDATE user_sessions SET created_at = now() - interval '1 h', expires_at = now()"
        " WHERE id = $1",
        UUID(expired.session_id),
    )
    assert await event(wire) == ("EXPIRED", expired.session_id)


async def test_a_session_that_ended_before_anybody_looked_is_told_twice(
    nodes: Nodes, db: Any
) -> None:
    guest = await nodes[0].guest()
    wire = await event_stream(nodes[1], guest.token)
    await db.execute(
        """INSERT INTO user_sessions (user_id, id, label, expires_at, activity_resolution,
                                      revoked_at, revoked_reason)
           VALUES ($1, gen_random_uuid(), 'short', now() + interval '1 d', interval '60 s',
                   now(), 'SIGNED_OUT')""",
        UUID(guest.user_id),
    )
    assert [(await event(wire))[0] for _ in range(2)] == ["CREATED", "REVOKED"]


async def test_nothing_is_replayed_and_a_list_read_later_misses_nothing(nodes: Nodes) -> None:
    """Whatever the list does not show yet comes as an event; what it shows comes as none."""
    one, two = nodes
    for _ in range(5):
        guest = await one.guest()
        wire = await two.connect(guest.token)
        signing_in = asyncio.create_task(one.device(guest))
        await wire.subscribe("events", EVENTS)
        await wire.subscribe("list", MINE)
        other = await signing_in
        later = await one.device(guest)
        known = list[str]()
        while later.session_id not in known:
            message = await wire.read()
            data = (message.get("payload") or {}).get("data", {})
            if message["id"] == "list" and data:
                known += [session["id"] for session in data["mySessions"]]
            elif message["id"] == "events":
                known.append(data["mySessionEvents"]["session"]["id"])
        assert other.session_id in known


async def test_what_is_completed_is_told_no_more(nodes: Nodes) -> None:
    guest = await nodes[0].guest()
    wire = await event_stream(nodes[0], guest.token)
    await wire.send({"type": "complete", "id": "events"})
    await nodes[0].device(guest)
    await asyncio.sleep(0.3)
    await wire.subscribe("1", POLICY)
    assert (await wire.read())["id"] == "1"


# Without the bus


@pytest.mark.parametrize("users", [1, 60, 1_000])
async def test_every_row_is_read_once_in_a_second_in_slices(database_url: str, users: int) -> None:
    database = Database(database_url, timeout=1, pool_size=1)
    watch = Watch(database, lambda: True)
    keys = [Key(uuid4(), uuid4()) for _ in range(users)]
    for key in keys:
        watch.add(Held(key, lambda _: None, lambda: None))
    taken = []
    watch._next_slice = now = 1.0
    while now < 1.999:
        taken.append(watch._slice(now))
        now = watch._next_slice
    assert sorted(user for part in taken for user in part) == sorted(key.user_id for key in keys)
    assert max(map(len, taken)) <= max(25, users / 20)
    await database.close()


async def test_a_lost_listener_is_replaced_and_nothing_waits_for_it(nodes: Nodes, db: Any) -> None:
    one, two = nodes
    guest = await one.guest()
    first, second = await one.device(guest), await one.device(guest)
    wires = [await two.connect(device.token) for device in (first, second)]
    await db.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {BUS}")
    await one.data(REVOKE, token=guest.token, id=first.session_id)
    await closes_within(2, wires[0])
    async with asyncio.timeout(10):
        await listening(two)
    await one.data(REVOKE, token=guest.token, id=second.session_id)
    await closes_within(1, wires[1])


async def test_behind_a_pooler_rows_are_read_twice_a_second(start_node: Any) -> None:
    one, two = [await start_node(DATABASE_POOLER="transaction") for _ in range(2)]
    guest = await one.guest()
    other = await one.device(guest)
    wire = await two.connect(other.token)
    await asyncio.sleep(0.2)
    await one.data(REVOKE, token=guest.token, id=other.session_id)
    await closes_within(1, wire)
    assert not two.services.live.bus.is_listening


@asynccontextmanager
async def away(db: Any) -> AsyncIterator[None]:
    """The rows cannot be read."""
    async with db.transaction():
        await db.execute("LOCK TABLE user_sessions IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_store_that_is_away_is_an_error_of_the_operation_and_1013_at_init(
    start_node: Any, db: Any
) -> None:
    node = await start_node(DATABASE_TIMEOUT=0.5)
    guest = await node.guest()
    wire, late = await node.connect(guest.token), await node.open()
    async with away(db):
        await wire.subscribe("1", MINE)
        refused = await wire.read()
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == "SESSION_STORE_UNAVAILABLE"
        await late.init(guest.token)
        assert await late.closed() == 1013
    async with asyncio.timeout(5):
        while refused["type"] == "error":
            await wire.subscribe("2", MINE)
            refused = await wire.read()


async def test_without_an_answer_no_event_is_told_and_after_five_seconds_it_closes_with_1013(
    start_node: Any, db: Any
) -> None:
    """Nobody is signed out; who is nobody stays."""
    node = await start_node(DATABASE_TIMEOUT=0.5)
    guest = await node.guest()
    wire, nobody = await event_stream(node, guest.token), await node.connect()
    began = time.monotonic()
    async with away(db):
        assert await wire.rest() == []
        assert wire.socket.close_code == 1013
        assert 4.5 < time.monotonic() - began < 12
        await nobody.subscribe("1", POLICY)
        assert (await nobody.read())["type"] == "next"
    await node.connect(guest.token)


async def test_an_event_waits_until_the_row_was_read_just_now(
    start_node: Any, monkeypatch: Any
) -> None:
    node = await start_node()
    guest = await node.guest()
    wire = await event_stream(node, guest.token)
    monkeypatch.setattr("live.held.SILENT_AFTER", 0.0)
    other = await node.device(guest)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await wire.read()
    monkeypatch.setattr("live.held.SILENT_AFTER", 60.0)
    assert await event(wire) == ("CREATED", other.session_id)


async def test_a_standstill_of_less_than_five_seconds_closes_nothing(
    start_node: Any, db: Any
) -> None:
    node = await start_node(DATABASE_TIMEOUT=0.5)
    guest = await node.guest()
    wire = await event_stream(node, guest.token)
    async with away(db):
        await asyncio.sleep(3)
    other = await node.device(guest)
    assert await event(wire) == ("CREATED", other.session_id)


async def test_what_nobody_can_confirm_is_closed_spread_over_seconds() -> None:
    """So that all who come back do not come back at once."""
    key = Key(uuid4(), uuid4())
    ages = [Held(key, lambda _: None, lambda: None)._lost_after for _ in range(300)]
    assert min(ages) >= LOST_AFTER
    assert max(ages) <= LOST_AFTER + SPREAD
    for second in range(int(SPREAD)):
        among = [age for age in ages if second <= age - LOST_AFTER < second + 1]
        assert len(among) > 50


async def test_the_log_tells_how_long_revocations_took_to_reach_sockets(
    start_node: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("live.connections.REPORT_INTERVAL", 0.1)
    told: list[Any] = []
    with structlog.testing.capture_logs() as lines:
        node = await start_node()
        guest = await node.guest()
        wire = await node.connect(guest.token)
        await node.data(SIGN_OUT, token=guest.token)
        assert await wire.closed() == 4401

        def is_told() -> bool:
            told[:] = [one for one in lines if one["event"] == "revocations_reached_sockets"]
            return bool(told)

        await until(is_told)
    assert told[0]["count"] == 1
    assert 0 <= told[0]["p50"] <= told[0]["p99"] <= told[0]["slowest"] < 2


# Readers


async def test_for_whom_too_much_waits_the_socket_closes_with_1013(
    start_node: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("live.held.MAX_CHANGES", 0)
    node = await start_node()
    guest = await node.guest()
    wire = await event_stream(node, guest.token)
    await node.device(guest)
    assert await wire.rest() == []
    assert wire.socket.close_code == 1013


async def test_who_does_not_read_is_dropped_with_1013(start_node: Any, monkeypatch: Any) -> None:
    """Nothing is kept for it without end, and the others are served meanwhile."""
    monkeypatch.setattr("web.sockets.STALL", 0.5)
    node = await start_node()
    guest = await node.guest()
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", node.port))
    wire = await node.open(sock=small, max_queue=1)
    await wire.init(guest.token)
    await wire.read()
    wide = """{ __schema { types { name description inputFields { name description }
        enumValues { name description } fields { name description args { name } } } } }"""

    async def ask() -> None:
        with suppress(ConnectionClosed):
            for number in range(100_000):
                await wire.subscribe(f"{number}", wide)

    asking = asyncio.create_task(ask())
    key = Key(UUID(guest.user_id), UUID(guest.session_id))
    await until(lambda: not node.services.live.watch.count(key))
    await wire.rest()
    await asking
    assert wire.socket.close_code == 1013
    await node.connect(guest.token)


async def test_a_client_that_vanishes_leaves_nothing_behind(start_node: Any) -> None:
    node = await start_node()
    guest = await node.guest()
    wire = await event_stream(node, guest.token)
    wire.socket.transport.abort()
    live = node.services.live
    await until(lambda: not (live.watch._by_user or live._open or live._networks or live._tasks))
    assert live.busy == 0


async def test_a_restart_closes_with_1012(start_node: Any) -> None:
    node = await start_node()
    wires = [await node.connect((await node.guest()).token), await node.connect()]
    live = node.services.live
    closing = asyncio.run_coroutine_threadsafe(live.close_all(), live.watch._wake._loop)
    await asyncio.wrap_future(closing)
    for wire in wires:
        assert await wire.closed() == 1012


# Processes


def environment(**changes: str) -> dict[str, str]:
    """This one without our settings, with changes."""
    kept = {k: v for k, v in os.environ.items() if k not in Settings.model_fields}
    return kept | {"JWT_SECRET": SECRET, "GRAPHIQL": "0", "GUEST_RATE_LIMIT": "0"} | changes


class Process:
    """A server as a process."""

    def __init__(self, database_url: str, log: Path, **changes: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=ROOT,
                env=environment(DATABASE_URL=database_url, PORT="0", **changes),
                stdout=output,
                start_new_session=True,
            )
        self.base = ""

    async def answers(self) -> None:
        """Waits until it does."""
        while not self.base:
            await asyncio.sleep(0.1)
            lines = self.log.read_text().splitlines()
            self.base = json.loads(lines[0])["health"].removesuffix("/healthz") if lines else ""
        async with httpx2.AsyncClient() as http:
            while True:
                with suppress(httpx2.TransportError):
                    await http.get(f"{self.base}/healthz")
                    return
                await asyncio.sleep(0.1)

    async def gql(self, query: str, token: str | None = None, **variables: Any) -> Any:
        """An operation's data."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"query": query, "variables": variables}
        async with httpx2.AsyncClient(base_url=self.base, timeout=20) as http:
            return (await http.post("/graphql", json=body, headers=headers)).json()["data"]


@pytest.fixture
async def processes(database_url: str, tmp_path: Path) -> AsyncIterator[list[Process]]:
    """Two servers, each a process of its own."""
    started = [Process(database_url, tmp_path / f"log{number}") for number in range(2)]
    async with asyncio.timeout(60):
        for process in started:
            await process.answers()
    yield started
    for process in started:
        process.popen.kill()
        process.popen.wait()


def open_wire(process: Process) -> connect:
    """A WebSocket to a process."""
    address = process.base.replace("http", "ws") + "/graphql"
    subprotocols: Any = ["graphql-transport-ws"]
    return connect(address, subprotocols=subprotocols, proxy=None)


async def acknowledged(wire: ClientConnection, token: str) -> ClientConnection:
    """The same, initialised."""
    payload = {"Authorization": f"Bearer {token}"}
    await wire.send(json.dumps({"type": "connection_init", "payload": payload}))
    assert json.loads(await wire.recv()) == {"type": "connection_ack"}
    return wire


async def test_what_a_killed_worker_had_revoked_ends_on_the_others(
    processes: list[Process],
) -> None:
    """Whether or not it came to tell them."""
    doomed, other = processes
    token = (await doomed.gql("mutation { createSession { token } }"))["createSession"]["token"]
    async with open_wire(other) as wire:
        await acknowledged(wire, token)
        await doomed.gql(SIGN_OUT, token)
        os.kill(doomed.popen.pid, signal.SIGKILL)
        async with asyncio.timeout(2):
            await wire.wait_closed()
        assert wire.close_code == 4401


async def test_workers_of_one_server_tell_each_other(database_url: str, tmp_path: Path) -> None:
    """Whichever has the socket, and whichever is asked."""
    server = Process(database_url, tmp_path / "log", WORKERS="2")
    try:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            await server.answers()
            made = await server.gql("mutation { createSession { token } }")
            token = made["createSession"]["token"]
            wires = [
                await acknowledged(await stack.enter_async_context(open_wire(server)), token)
                for _ in range(12)
            ]
            await server.gql(SIGN_OUT, token)
            async with asyncio.timeout(2):
                await asyncio.gather(*(wire.wait_closed() for wire in wires))
            assert {wire.close_code for wire in wires} == {4401}
    finally:
        server.popen.terminate()
        server.popen.wait()
