"""Clocks: a node's own may be an hour off; the database's decides who is let in.

The node is a process of its own, under libfaketime.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from auth import keys, tokens
from settings import ROOT, Settings

ME = "{ viewer { id } }"
CREATE = "mutation { createSession { token } }"

StartNode = Callable[[str], Awaitable["Node"]]


class Node:
    """A server's process whose clock can be set, and a client of it."""

    def __init__(self, settings: Settings, clock: Path) -> None:
        self._clock = clock
        self._settings = settings
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self._port}")

    def set_clock(self, offset: str) -> None:
        """Such as "+1h"; written beside and moved, so that nobody reads half of it."""
        draft = self._clock.with_suffix(".draft")
        draft.write_text(f"{offset}\n")
        draft.rename(self._clock)

    def start(self, preload: str) -> None:
        """Starts the process."""
        self._process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "LD_PRELOAD": preload,
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DATABASE_URL": secret(self._settings.DATABASE_URL),
                "JWT_SECRET": secret(self._settings.JWT_SECRET),
                "PORT": str(self._port),
                "GRAPHIQL": "0",
                "SESSIONS_PAGE": "0",
                "SESSION_CLEANUP_INTERVAL": "0",
            },
        )

    async def answers(self) -> None:
        """Returns when it does."""
        async with asyncio.timeout(30):
            while not await self._answers():
                assert self._process.poll() is None
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return (await self.http.get("/healthz")).status_code == 200
        return False

    async def stop(self) -> None:
        """Ends the process."""
        await self.http.aclose()
        self._process.terminate()
        self._process.wait()

    async def gql(self, query: str, token: str | None = None) -> httpx2.Response:
        """Sends an operation."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.post("/graphql", json={"query": query}, headers=headers)


def secret(value: Any) -> str:
    text: str = value.get_secret_value()
    return text


@pytest.fixture(scope="session")
def libfaketime() -> str:
    """The library's path, which the program knows."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is missing: apt-get install faketime")
    asked = ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
async def start_node(
    make_settings: Any, tmp_path: Path, libfaketime: str
) -> AsyncIterator[StartNode]:
    """Starts a server whose clock is off by so much."""
    running: list[Node] = []

    async def start(offset: str) -> Node:
        node = Node(make_settings(), tmp_path / f"clock{len(running)}")
        running.append(node)
        node.set_clock(offset)
        node.start(libfaketime)
        await node.answers()
        return node

    yield start
    for node in running:
        await node.stop()


@pytest.fixture
def mint(make_settings: Any, db: Any) -> Callable[..., Awaitable[str]]:
    """Sets a session's times by the database's clock; its token."""
    settings = make_settings()

    async def minted(guest: Any, *, created: str, expires: str) -> str:
        row = await db.fetchrow(
            f"""UPDATE user_sessions
                SET created_at = now() + interval '{created}',
                    expires_at = now() + interval '{expires}'
                WHERE id = $1 RETURNING *""",
            UUID(guest.session_id),
        )
        return tokens.mint(
            keys.ring(secret(settings.JWT_SECRET)),
            tokens.Profile(settings.JWT_ISSUER, settings.JWT_AUDIENCE, settings.JWT_CLIENT_ID),
            user_id=row["user_id"],
            session_id=row["id"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
        )

    return minted


def reason(response: httpx2.Response) -> str | None:
    """Why a request was refused; None when it was not."""
    if response.status_code == 200:
        return None
    assert response.status_code == 401
    told: str = response.json()["errors"][0]["extensions"]["reason"]
    return told


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
async def test_a_node_an_hour_off_expels_nobody(
    client: Any, start_node: StartNode, mint: Any, offset: str
) -> None:
    node = await start_node(offset)
    fresh, short = await client.guest(), await client.guest()
    assert reason(await node.gql(ME, fresh.token)) is None
    token = await mint(short, created="-1 h", expires="10 min")
    assert reason(await node.gql(ME, token)) is None


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
async def test_a_node_an_hour_off_admits_nobody(
    client: Any, start_node: StartNode, mint: Any, offset: str
) -> None:
    node = await start_node(offset)
    past, future = await client.guest(), await client.guest()
    over = await mint(past, created="-1 h", expires="-2 s")
    assert reason(await node.gql(ME, over)) == "TOKEN_EXPIRED"
    early = await mint(future, created="10 min", expires="1 h")
    assert reason(await node.gql(ME, early)) == "TOKEN_INVALID"


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
async def test_a_token_made_on_a_node_an_hour_off_is_good_everywhere(
    client: Any, start_node: StartNode, offset: str
) -> None:
    node = await start_node(offset)
    token = (await node.gql(CREATE)).json()["data"]["createSession"]["token"]
    assert reason(await client.gql(ME, token=token)) is None
    assert reason(await node.gql(ME, token)) is None


@pytest.mark.parametrize(("offset", "sign"), [("+1h", "-"), ("-1h", "+")])
async def test_a_node_an_hour_off_is_not_ready_and_says_why(
    start_node: StartNode, offset: str, sign: str
) -> None:
    ready = await (await start_node(offset)).http.get("/readyz")
    checks = ready.json()["checks"]
    assert ready.status_code == 503
    assert {name for name, found in checks.items() if found != "ok"} == {"clock"}
    assert checks["clock"].startswith(sign)


@pytest.mark.parametrize("offset", ["+45s", "-45s"])
async def test_a_node_less_than_a_minute_off_is_ready(start_node: StartNode, offset: str) -> None:
    assert (await (await start_node(offset)).http.get("/readyz")).status_code == 200


async def test_a_clock_that_is_set_while_the_server_runs_expels_nobody(
    client: Any, start_node: StartNode, mint: Any
) -> None:
    node = await start_node("+0")
    fresh, short = await client.guest(), await client.guest()
    token = await mint(short, created="-1 h", expires="10 min")
    for offset in ("+1h", "-1h", "+0"):
        node.set_clock(offset)
        assert reason(await node.gql(ME, fresh.token)) is None
        assert reason(await node.gql(ME, token)) is None
