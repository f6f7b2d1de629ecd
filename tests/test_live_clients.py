"""npm's graphql-ws and graphql-sse, as clients have them in their pages."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests import npm

HERE = Path(__file__).parent / "live_clients"
ME = "{ viewer { id } }"
EVENTS = "subscription { mySessionEvents { kind session { id } } }"
REVOKE = "mutation($id: ID!) { revokeSession(id: $id) { status } }"
PROTOCOLS = ("ws", "sse")


class Program:
    """A client at work: what it prints, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> Any:
        """The next one."""
        assert self.process.stdout
        async with asyncio.timeout(20):
            return json.loads(await self.process.stdout.readline())

    async def until(self, name: str) -> Any:
        """The value of the next line of a name."""
        while name not in (line := await self.line()):
            pass
        return line[name]


StartProgram = Callable[..., Awaitable[Program]]


@pytest.fixture
async def start_program() -> AsyncIterator[StartProgram]:
    """Starts a client."""
    node, folder = await asyncio.to_thread(npm.installed, HERE)
    programs: list[Program] = []

    async def start(protocol: str, base: str, token: str, query: str) -> Program:
        address = base.replace("http", "ws") if protocol == "ws" else base
        process = await asyncio.create_subprocess_exec(
            *(node, str(HERE / "client.mjs"), str(folder)),
            *(protocol, f"{address}/graphql", token, query),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        programs.append(Program(process))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.returncode is None:
            program.process.kill()
        await program.process.communicate()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_query_is_answered(
    start_node: Any, start_program: StartProgram, protocol: str
) -> None:
    node = await start_node()
    guest = await node.guest()
    program = await start_program(protocol, node.base, guest.token, ME)
    assert await program.until("next") == {"data": {"viewer": {"id": guest.user_id}}}
    assert await program.until("complete") is True


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_events_come_until_the_session_ends_and_then_it_stops(
    start_node: Any, start_program: StartProgram, protocol: str
) -> None:
    """With the reason, and without trying again."""
    node = await start_node()
    guest = await node.guest()
    other = await node.device(guest)
    program = await start_program(protocol, node.base, other.token, EVENTS)
    await program.until("connected")
    await asyncio.sleep(0.5)
    third = await node.device(guest)
    told = await program.until("next")
    assert told["data"]["mySessionEvents"] == {
        "kind": "CREATED",
        "session": {"id": third.session_id},
    }
    await node.data(REVOKE, token=guest.token, id=other.session_id)
    ended = await program.line()
    errors = ended["error"] if protocol == "ws" else ended["next"]["errors"]
    assert errors[0]["extensions"]["revokedReason"] == "REVOKED_BY_USER"
    if protocol == "ws":
        assert await program.until("closed") == 4401
    else:
        assert await program.until("complete") is True


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_after_a_restart_it_comes_back(
    start_node: Any, start_program: StartProgram, protocol: str
) -> None:
    node = await start_node()
    guest = await node.guest()
    program = await start_program(protocol, node.base, guest.token, EVENTS)
    assert await program.until("connected") is False
    live = node.services.live
    await asyncio.sleep(0.5)
    await asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(live.close_all(), live.watch._wake._loop)
    )
    assert await program.until("connected") is True
    await asyncio.sleep(0.5)
    other = await node.device(guest)
    told = await program.until("next")
    assert told["data"]["mySessionEvents"]["session"]["id"] == other.session_id
