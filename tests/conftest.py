"""What tests share: a real PostgreSQL, a database per test, the application, real clients.

TEST_DATABASE_URL names another PostgreSQL (15 or later, a role that may create databases); without
it each process of the tests runs an embedded one, in a folder that is thrown away.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
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
from db.engine import Connection, Database
from server import websocket
from server.http import Protocol
from settings import ROOT, Settings
from tests.servers import APP, MAKE, Server, Start, StartOn, starting

# Every operation of a live session is compiled at once; TEST_COMPILE_AFTER=0: none is, ever.
COMPILE_AFTER = int(os.environ.get("TEST_COMPILE_AFTER", "1"))
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


T = TypeVar("T")


def awaited(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What work answers, done by a loop of its own."""
    with ThreadPoolExecutor(1) as thread:  # a browser's test has a loop running in this one
        return thread.submit(lambda: asyncio.run(work())).result()


def run_sql(url: str, *statements: str) -> Any:
    """Runs statements, each in autocommit; what the last one finds first."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return awaited(run)


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
    url = own.url.replace("//bigtwo@", "//postgres@", 1)
    try:
        set_durable(url, "off")
        # It would come at any time, and what it does to a used database a new one never sees.
        run_sql(url, "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
        yield url
    finally:
        own.leave()
        embedded.remove(state)


def set_durable(url: str, to: str) -> None:
    """Whether a server waits for the disk: one that is thrown away need not."""
    names = ("full_page_writes", "fsync")
    run_sql(url, *(f"ALTER SYSTEM SET {name} = {to}" for name in names), "SELECT pg_reload_conf()")
    while run_sql(url, "SHOW fsync") != to:
        time.sleep(0.01)


@pytest.fixture
def durable(postgres: str) -> Iterator[None]:
    """The server keeps what it acknowledges, as the embedded one of a person does."""
    given = os.environ.get("TEST_DATABASE_URL")
    if not given:
        set_durable(postgres, "on")
    yield
    if not given:
        set_durable(postgres, "off")


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
    url = new_database(postgres, "")
    yield url
    drop_database(postgres, url)


@pytest.fixture(scope="session")
def migrated(postgres: str, template: str) -> Iterator["Migrated"]:
    """What lends migrated databases."""
    lender = Migrated(postgres, template)
    yield lender
    lender.close()


@pytest.fixture
def unicode_database_url(postgres: str) -> Iterator[str]:
    """A migrated, empty database whose locale knows more letters than ASCII's."""
    url = new_database(postgres, "TEMPLATE template0 LOCALE 'C.UTF-8'")
    migrations.upgrade(url)
    yield url
    drop_database(postgres, url)


@pytest.fixture
def database_url(migrated: "Migrated") -> str:
    """A migrated, empty database, at this time the test's own."""
    return migrated.lend()


def new_database(postgres: str, how: str) -> str:
    """Creates a database; its URL."""
    name = f"bigtwo_test_{uuid4().hex[:8]}"
    run_sql(postgres, f"CREATE DATABASE {name} {how}")
    return with_database(postgres, name)


def drop_database(postgres: str, url: str) -> None:
    """Ends whoever uses a database, and drops it."""
    name = urlsplit(url).path.removeprefix("/")
    run_sql(postgres, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


# What tells a database from another, but for rows: all that is defined, by count and last change.
CATALOGS = ["attrdef", "attribute", "class", "constraint", "depend", "enum", "extension", "index"]
CATALOGS += ["namespace", "policy", "proc", "rewrite", "shdepend", "trigger", "type"]
LISTED = [f"SELECT (count(*), max(xmin::text::int8))::text AS it FROM pg_{c}" for c in CATALOGS]
LISTED += ["SELECT d::text FROM pg_database d WHERE datname = current_database()"]
LISTED += ["SELECT s::text FROM pg_db_role_setting s", "SELECT version_num FROM alembic_version"]
SHAPE = f"SELECT array_agg(it) FROM ({' UNION ALL '.join(LISTED)}) listed"
OTHERS_ENDED = """SELECT bool_and(pg_terminate_backend(pid, 5000)) IS NOT FALSE
    FROM pg_stat_activity
   WHERE datname = current_database() AND backend_type = 'client backend'
     AND pid <> pg_backend_pid()"""
TABLES = """SELECT tablename AS name, pg_total_relation_size(tablename::regclass) AS bytes
    FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"""
MOST_BYTES = 4_000_000  # of all tables; what was deleted still takes its room


class Migrated:
    """Lends databases as migrations make them, one at a time.

    Making one costs more than most tests do. One in which a test changed nothing but rows is lent
    again without these, as soon as nobody else is connected to it.
    """

    def __init__(self, postgres: str, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._url = ""
        self._shape: Any = None

    def lend(self) -> str:
        """A database that nobody uses any more, or a new one."""
        if not (self._url and awaited(self._emptied)):
            self.close()
            self._url = new_database(self._postgres, f"TEMPLATE {self._template}")
            self._shape = run_sql(self._url, SHAPE)
        return self._url

    def close(self) -> None:
        """Drops what there is."""
        if self._url:
            drop_database(self._postgres, self._url)
            self._url = ""

    async def _emptied(self) -> bool:
        """Whether the database is now as it was when it was new."""
        try:
            connection = await asyncpg.connect(self._url)
        except asyncpg.PostgresError:
            return False
        try:
            return await connection.fetchval(OTHERS_ENDED) and await self._empty(connection)
        except asyncpg.PostgresError:
            return False
        finally:
            await connection.close()

    async def _empty(self, connection: Any) -> bool:
        """Deletes all rows and statistics, where that is all there is to undo."""
        tables = await connection.fetch(TABLES)
        shape = await connection.fetchval(SHAPE)
        if shape != self._shape or sum(table["bytes"] for table in tables) > MOST_BYTES:
            return False
        deleted = "".join(f"DELETE FROM {table['name']};" for table in tables)
        await connection.execute(f"SET session_replication_role = replica; {deleted}")
        await connection.execute("SELECT pg_stat_reset()")
        return True


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
            "GRAPHQL_COMPILE_AFTER": COMPILE_AFTER,
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
            http=Protocol,
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
# Who waits for a row waits for a transaction, which is of no database: its other locks tell.
WAITING = """SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (
    SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database
     WHERE datname = current_database())"""


@pytest.fixture
def until_waiting(db: Any) -> UntilWaiting:
    """Waits until so many requests wait for a lock; none of those that are told may be answered."""

    async def wait(*requests: "asyncio.Future[Any]", count: int = 1) -> None:
        while await db.fetchval(WAITING) < count:
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
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every SQL statement that the application sends while the test runs."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        del connection, cursor, rest
        sent.append(" ".join(statement.split()))

    fetch = Connection.fetch

    async def fetch_and_note(connection: Any, statement: str, *values: Any) -> Any:
        sent.append(" ".join(statement.split()))
        return await fetch(connection, statement, *values)

    monkeypatch.setattr(Connection, "fetch", fetch_and_note)  # SQLAlchemy never comes by here
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


@pytest.fixture(scope="session")
def used_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a clone in which a server has run on the embedded database."""
    state = tmp_path_factory.mktemp("used") / ".state"
    own = embedded.join(state)
    try:
        migrations.upgrade(own.url)
    finally:
        own.leave()
    yield state
    embedded.remove(state)


def copy_data(used: Path, state: Path) -> None:
    """Gives a clone data of its own: to make them takes longer than all else that a test does."""
    state.mkdir(mode=0o700)
    there, here = embedded._folder(used), embedded._folder(state)
    subprocess.run(["cp", "-a", there / "data", here / "data"], check=True)


@pytest.fixture
def start(first_start: Start, clone: Path, used_state: Path) -> Start:
    """Starts a server in the clone as it does after the first time, with data."""

    def begin(command: tuple[str, ...] = MAKE, **changes: str) -> Server:
        if "DATABASE_URL" not in changes and not (clone / ".state").exists():
            copy_data(used_state, clone / ".state")
        return first_start(command, **changes)

    return begin


@pytest.fixture
def first_start(clone: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers in the clone, the first one without data."""
    with starting(clone, tmp_path) as begin:
        yield begin


@pytest.fixture
def start_on(start: Start, database_url: str) -> StartOn:
    """Starts a server on the test's database, with changed settings."""

    def begin(**changes: str) -> Server:
        return start(APP, DATABASE_URL=database_url, JWT_SECRET=SECRET, **changes)

    return begin
