"""What tests share: a real PostgreSQL, a database per test, the application, real clients.

TEST_DATABASE_URL names another PostgreSQL (15 or later, a role that may create databases); without
it the embedded one runs, in a folder that is thrown away.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
import uvicorn
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.engine import Engine
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app import create_app
from auth import keys, tokens
from background import activity
from background.cleanup import Cleanup
from context import Services
from db import embedded, migrations
from db.engine import Database
from server import websocket
from settings import ROOT, Settings

SLOW = 20  # seconds until a test gives up
SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"
CREATE = "mutation { createSession { token session { id } } }"
ME = "{ viewer { id username } }"
PASSWORD = "seven odd otters juggle"
CLAIM = """mutation($username: String!, $password: String!, $others: Boolean! = true) {
    claimAccount(username: $username, password: $password, revokeOthers: $others) {
        token session { id label isCurrent user { id username isGuest } }
        userErrors { code message path } } }"""
REDEEM = """mutation($input: CreateSessionInput!) { createSession(input: $input) {
    token expiresAt session { id label isCurrent authenticatedAt user { id } }
    userErrors { code message path }
} }"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (STRICT_TESTS, as in CI) a skipped test is a failed one."""
    report = yield
    if os.environ.get("STRICT_TESTS") and report.skipped:
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def run_sql(url: str, *statements: str) -> None:
    """Runs statements, each in autocommit."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:  # a browser's test has a loop running in this one
        thread.submit(lambda: asyncio.run(run())).result()


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return re.sub(r"^(\w+://[^/]*)/[^?]*", rf"\1/{name}", url)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server on which databases may be created."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    state = tmp_path_factory.mktemp("postgres") / ".state"
    own = embedded.join(state)
    try:
        yield own.url.replace("//bigtwo@", "//postgres@", 1)
    finally:
        own.leave()
        embedded.remove(state)


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """The name of a migrated database, to be copied."""
    name = f"bigtwo_template_{uuid4().hex[:8]}"
    run_sql(postgres, f"CREATE DATABASE {name}")
    migrations.upgrade(with_database(postgres, name))
    yield name
    run_sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """A database that was never migrated."""
    yield from new_database(postgres, "")


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    yield from new_database(postgres, f"TEMPLATE {template}")


def new_database(postgres: str, how: str) -> Iterator[str]:
    """Creates a database, and drops it afterwards."""
    name = f"bigtwo_test_{uuid4().hex[:8]}"
    run_sql(postgres, f"CREATE DATABASE {name} {how}")
    yield with_database(postgres, name)
    run_sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    """A connection for looking at rows, and for ageing them."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(database_url: str) -> MakeSettings:
    """Settings for the test's database, with changes."""

    def make(**changes: Any) -> Settings:
        defaults: dict[str, Any] = {
            "DATABASE_URL": SecretStr(database_url),
            "JWT_SECRET": SecretStr(SECRET),
            "GUEST_RATE_LIMIT": 0,
            "SESSION_CLEANUP_INTERVAL": 0,
        }
        return Settings(**(defaults | changes))

    return make


StartApp = Callable[..., Awaitable["Client"]]


@pytest.fixture
async def start_app(make_settings: MakeSettings) -> AsyncIterator[StartApp]:
    """Starts the application with changed settings; a client of it."""
    running: list[Any] = []

    async def start(**changes: Any) -> Client:
        application = create_app(make_settings(**changes))
        lifespan = application.router.lifespan_context(application)
        await lifespan.__aenter__()
        client = Client(application)
        running.append((client, lifespan))
        return client

    yield start
    for client, lifespan in reversed(running):
        await client.http.aclose()
        await lifespan.__aexit__(None, None, None)


@pytest.fixture
async def client(start_app: StartApp) -> "Client":
    """A client of the application with its default settings."""
    return await start_app()


ServeApp = Callable[..., str]


@pytest.fixture
def serve_app() -> Iterator[ServeApp]:
    """Serves an application on a real socket of loopback; its origin."""
    with ExitStack() as running:

        def serve(application: Any, host: str = "127.0.0.1") -> str:
            return running.enter_context(served(application, host))

        yield serve


@contextmanager
def served(application: Any, host: str) -> Iterator[str]:
    """One server in a thread, ended with the block."""
    with socket.create_server((host, 0)) as listener:
        config = uvicorn.Config(
            application,
            http="h11",
            ws=websocket.WebSocket,
            **websocket.OPTIONS,
            log_config=None,
            server_header=False,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)


@dataclass(frozen=True)
class Guest:
    """A guest's session, as its client knows it."""

    token: str
    session_id: str
    user_id: str


class Client:
    """An HTTP client of the application, with the few calls that every test makes."""

    def __init__(self, application: Starlette) -> None:
        self.application = application
        self.services: Services = application.state.services
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=application), base_url="http://localhost:8000"
        )

    async def gql(
        self, query: str, *, token: str | None = None, headers: Any = None, **variables: Any
    ) -> httpx2.Response:
        """Sends an operation."""
        credential = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers=credential | (headers or {}),
        )

    async def data(self, query: str, *, token: str | None = None, **variables: Any) -> Any:
        """The data of an operation that must succeed."""
        response = await self.gql(query, token=token, **variables)
        assert response.status_code == 200, response.text
        assert "errors" not in response.json(), response.text
        return response.json()["data"]

    async def guest(self) -> Guest:
        """A new guest."""
        created = (
            await self.data("mutation { createSession { token session { id user { id } } } }")
        )["createSession"]
        session = created["session"]
        return Guest(created["token"], session["id"], session["user"]["id"])

    async def flush(self) -> None:
        """Writes down now what would be within a second."""
        await activity.write_down(self.services)

    async def link_code(self, guest: Guest) -> str:
        """A code with which another device signs in as a guest."""
        made = await self.data("mutation { createLinkCode { code } }", token=guest.token)
        code: str = made["createLinkCode"]["code"]
        return code

    async def redeem(self, code: str, *, token: str | None = None, **more: Any) -> Any:
        """CreateSession's payload for a link code."""
        given = {"credentials": {"linkCode": {"code": code}}} | more
        return (await self.data(REDEEM, token=token, input=given))["createSession"]

    async def account(self, username: str, password: str = PASSWORD) -> Guest:
        """A guest that claimed an account."""
        guest = await self.guest()
        claimed = (await self.data(CLAIM, token=guest.token, username=username, password=password))[
            "claimAccount"
        ]
        assert claimed["userErrors"] == []
        return Guest(claimed["token"], claimed["session"]["id"], guest.user_id)

    async def sign_in(self, username: str, password: str = PASSWORD, **more: Any) -> Any:
        """CreateSession's payload for a password."""
        given = {"credentials": {"password": {"username": username, "password": password}}}
        return (await self.data(REDEEM, **more, input=given))["createSession"]

    async def device(self, guest: Guest) -> Guest:
        """One more device of a guest, signed in with a link code."""
        created = await self.redeem(await self.link_code(guest))
        assert created["userErrors"] == []
        return Guest(created["token"], created["session"]["id"], guest.user_id)


class Remote(Client):
    """A client that comes over a real socket."""

    def __init__(self, application: Starlette, base: str) -> None:
        super().__init__(application)
        self.http = httpx2.AsyncClient(base_url=base)


class Wire:
    """The client's side of a WebSocket, message by message."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: Any) -> None:
        """Sends a message."""
        await self.socket.send(json.dumps(message))

    async def init(self, token: str | None = None) -> None:
        """Begins, with a token."""
        payload = {"payload": {"Authorization": f"Bearer {token}"}} if token else {}
        await self.send({"type": "connection_init"} | payload)

    async def subscribe(self, op_id: str, query: str, **variables: Any) -> None:
        """Starts an operation."""
        payload = {"query": query, "variables": variables}
        await self.send({"id": op_id, "type": "subscribe", "payload": payload})

    async def read(self) -> Any:
        """The server's next message."""
        async with asyncio.timeout(SLOW):
            return json.loads(await self.socket.recv())

    async def rest(self) -> list[Any]:
        """All that still comes until it is closed."""
        left = []
        with suppress(ConnectionClosed):
            while True:
                left.append(await self.read())
        return left

    async def closed(self) -> int | None:
        """The code with which it is closed, whatever comes before."""
        await self.rest()
        return self.socket.close_code

    @property
    def reason(self) -> str | None:
        """And the reason."""
        return self.socket.close_reason


class Node:
    """A server on a real socket: its client, and connections to it."""

    def __init__(self, client: "Client", base: str) -> None:
        self.client = client
        self.services = client.services
        self.base = base
        self.port = int(base.rpartition(":")[2])
        self.guest, self.data, self.device = client.guest, client.data, client.device
        self.opened: list[ClientConnection] = []

    async def open(self, path: str = "/graphql", **options: Any) -> Wire:
        """A connection that is not initialised."""
        options = {"subprotocols": ["graphql-transport-ws"], "compression": None} | options
        address = f"ws://127.0.0.1:{self.port}{path}"
        socket = await connect(address, proxy=None, max_size=None, **options)
        self.opened.append(socket)
        return Wire(socket)

    async def connect(self, token: str | None = None) -> Wire:
        """A connection that is acknowledged."""
        wire = await self.open()
        await wire.init(token)
        assert await wire.read() == {"type": "connection_ack"}
        return wire


StartNode = Callable[..., Awaitable[Node]]


@pytest.fixture
async def start_node(make_settings: MakeSettings, serve_app: ServeApp) -> AsyncIterator[StartNode]:
    """Starts a server with changed settings; all of them share the test's database."""
    nodes: list[Node] = []

    async def start(**changes: Any) -> Node:
        application = create_app(make_settings(**changes))
        base = await asyncio.to_thread(serve_app, application)
        nodes.append(Node(Remote(application, base), base))
        return nodes[-1]

    yield start
    for node in nodes:
        for opened in node.opened:
            opened.transport.abort()
        await node.client.http.aclose()


AddSession = Callable[..., Awaitable[Guest]]


@pytest.fixture
async def add_session(db: Any) -> AddSession:
    """Gives a user one more session, as a second device would have it; its client's view of it."""

    async def add(guest: Guest, label: str = "second-device") -> Guest:
        row = await db.fetchrow(
            """INSERT INTO user_sessions
                   (user_id, id, label, expires_at, activity_resolution)
               VALUES ($1, $2, $3, now() + interval '30 days', interval '60 s')
               RETURNING user_id, id, created_at, expires_at""",
            UUID(guest.user_id),
            uuid4(),
            label,
        )
        return Guest(mint(row), str(row["id"]), guest.user_id)

    return add


def mint(row: Any) -> str:
    """The token of a session's row."""
    return tokens.mint(
        keys.ring(SECRET),
        tokens.Profile("bigtwo-sessions", "bigtwo-sessions", "bigtwo-frontend"),
        user_id=row["user_id"],
        session_id=row["id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


UntilWaiting = Callable[..., Awaitable[None]]


@pytest.fixture
def until_waiting(db: Any) -> UntilWaiting:
    """Waits until so many requests wait for a lock; none of those that are told may be answered."""

    async def wait(*requests: "asyncio.Future[Any]", count: int = 1) -> None:
        while await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < count:
            assert not any(request.done() for request in requests), "it did not wait for the lock"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def clean_up(database_url: str) -> Callable[[], Awaitable[Cleanup]]:
    """Cleans up to the end; what was done."""

    async def run() -> Cleanup:
        database = Database(database_url, timeout=30, pool_size=2)
        try:
            cleanup = Cleanup(database, timedelta(days=30), timedelta(days=30), timedelta(days=90))
            await cleanup.run(budget=None)
            return cleanup
        finally:
            await database.close()

    return run


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every SQL statement that the application sends while the test runs."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        del connection, cursor, rest
        sent.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone of this project as it stands, with an environment already made."""
    target = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".venv").symlink_to(ROOT / ".venv")
    yield target
    embedded.remove(target / ".state")
