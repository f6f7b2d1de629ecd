"""A restart and what is open: operations end first, then sockets are sent away to come back."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.conftest import Wire
from tests.servers import SLOW, Server, StartOn, until

EVENTS = "subscription { mySessionEvents { kind } }"
CODE = "mutation { createLinkCode { code } }"
LIST = "{ mySessions { id } }"


@asynccontextmanager
async def connected(server: Server, token: str) -> AsyncIterator[Wire]:
    """An acknowledged socket."""
    address = f"ws://127.0.0.1:{server.port}/graphql"
    speaks = [Subprotocol("graphql-transport-ws")]
    async with connect(address, subprotocols=speaks, proxy=None) as socket:
        wire = Wire(socket)
        await wire.init(token)
        assert await wire.read() == {"type": "connection_ack"}
        yield wire


async def listening(wire: Wire) -> None:
    """Starts a subscription, and waits until it knows what was before it."""
    await wire.subscribe("events", EVENTS)
    await wire.subscribe("list", LIST)
    assert [(await wire.read())["type"] for _ in range(2)] == ["next", "complete"]


def gone(wire: Wire) -> bool:
    """Whether it has been closed."""
    return wire.socket.close_code is not None


def told_to_end(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)


async def ended(server: Server) -> int:
    """The exit code."""
    return await asyncio.to_thread(server.process.wait, SLOW)


async def test_what_is_under_way_on_a_socket_is_answered_then_all_close_with_1012(
    start_on: StartOn, db: Any, until_waiting: Any
) -> None:
    server = start_on()
    token, _ = await asyncio.to_thread(server.create)
    async with connected(server, token) as idle, connected(server, token) as busy:
        await listening(idle)
        async with db.transaction():
            await db.execute("SELECT FROM users FOR UPDATE")
            await busy.subscribe("code", CODE)
            await until_waiting()
            told_to_end(server)
            await asyncio.sleep(0.5)  # long enough to close what nobody waits for
            assert not gone(idle)
            assert not gone(busy)
        answered = await busy.rest()
        assert [message["type"] for message in answered] == ["next", "complete"]
        assert answered[0]["payload"]["data"]["createLinkCode"]["code"]
        assert [await busy.closed(), await idle.closed()] == [1012, 1012]
    assert await ended(server) == 0


async def test_a_stream_is_cut_without_complete(start_on: StartOn) -> None:
    server = start_on()
    token, _ = await asyncio.to_thread(server.create)
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    said = b""
    async with httpx2.AsyncClient(timeout=SLOW) as client:
        asked = client.stream(
            "POST", f"{server.base}/graphql", json={"query": EVENTS}, headers=headers
        )
        async with asked as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            told_to_end(server)
            async for part in stream.aiter_raw():
                said += part
    assert b"complete" not in said
    assert await ended(server) == 0


async def test_a_roll_sends_sockets_away_and_they_find_the_next_worker(
    start_on: StartOn,
) -> None:
    server = start_on(WORKERS="2")
    token, session_id = await asyncio.to_thread(server.create)
    before = set(server.workers)
    async with connected(server, token) as one, connected(server, token) as other:
        await listening(one)
        await listening(other)
        server.process.send_signal(signal.SIGHUP)
        assert [await one.closed(), await other.closed()] == [1012, 1012]
    async with connected(server, token) as again:
        await again.subscribe("list", LIST)
        payload = (await again.read())["payload"]
        assert [session["id"] for session in payload["data"]["mySessions"]] == [session_id]
    await asyncio.to_thread(until, lambda: not before & set(server.workers))
