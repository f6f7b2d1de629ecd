"""A database that is away, stuck, killed, read-only or a standby: 200 or 503, never a verdict.

Whatever happens to it, nobody is signed out: the same token is good afterwards.
"""

import asyncio
import contextlib
import gc
import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from app import create_app
from auth import tokens
from db import embedded, migrations
from db.url import connect_arguments

ME = "{ viewer { id } }"
MINE = "{ mySessions { id } }"
CREATE = "mutation { createSession { token session { id } } }"
CODE = "mutation { createLinkCode { userErrors { code } } }"
SIGN_OUT = "mutation { revokeSession { status } }"
TIMEOUT = 1.0  # seconds that the server may wait for the database
CANCEL_REQUEST = struct.pack("!ii", 16, 80877102)
ENDS = b"SFATAL\0VFATAL\0C57P01\0Mthe server ends\0\0"
DOOR = "FROM user_sessions s JOIN users"
APP = "application_name = 'bigtwo-sessions' AND datname = current_database()"


class Proxy:
    """A way to the database that can refuse, freeze and break; it notes how each began."""

    def __init__(self, url: str) -> None:
        self.upstream = url
        self.url = ""
        self.begun: list[bytes] = []
        self.flows = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[asyncio.StreamWriter] = []  # of these, those to who has connected
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    async def listen(self) -> None:
        """Accepts connections, on the same port as before."""
        self.flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(self.upstream)
        who = parts.netloc.rpartition("@")[0] or "postgres"
        self.url = f"postgresql://{who}@127.0.0.1:{self._port}{parts.path}?sslmode=disable"

    def refuse(self) -> None:
        """Nothing listens any more; what is connected stays so."""
        self._server.close()

    def cut(self) -> None:
        """Every connection breaks."""
        while self._writers:
            self._writers.pop().transport.abort()

    def announce_end(self) -> None:
        """Every connection is told that the server ends it, and stays open for now."""
        for writer in self._clients:
            writer.write(b"E%b%b" % (struct.pack("!i", len(ENDS) + 4), ENDS))

    def freeze(self) -> None:
        """Connections are accepted and nothing goes through."""
        self.flows.clear()

    async def heal(self) -> None:
        """All is well again."""
        self._server.close()
        await self.listen()

    async def close(self) -> None:
        """Ends it all."""
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._clients.append(writer)
        first = await reader.read(8)
        self.begun.append(first)
        with contextlib.suppress(OSError):
            there, back = await self._connect()
            self._writers.append(back)
            back.write(first)
            for source, target in ((reader, back), (there, writer)):
                task = asyncio.create_task(self._pump(source, target))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.upstream)
        query = parse_qs(parts.query)
        if "host" in query:
            port = query.get("port", ["5432"])[0]
            return await asyncio.open_unix_connection(f"{query['host'][0]}/.s.PGSQL.{port}")
        return await asyncio.open_connection(parts.hostname, parts.port or 5432)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self.flows.wait()
                target.write(data)
                await target.drain()
        target.close()


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A breakable way to the test's database."""
    async with proxied(database_url) as way:
        yield way


@pytest.fixture
async def client(start_app: Any, proxy: Proxy) -> Any:
    """A client of a server that reaches its database through the proxy."""
    return await start_app(DATABASE_URL=SecretStr(proxy.url), DATABASE_TIMEOUT=TIMEOUT)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Unawaited coroutines, unread exceptions and open connections speak up before a test ends."""
    yield
    gc.collect()


def assert_unavailable(response: Any) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"]
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "SESSION_STORE_UNAVAILABLE"
    assert "data" not in response.json()


def every_request(client: Any, token: str) -> list[Awaitable[Any]]:
    """One of each kind that needs the database."""
    headers = {"Authorization": f"Bearer {token}"}
    return [
        client.gql(ME, token=token),
        client.gql(MINE, token=token),
        client.gql(CREATE),
        client.gql(CREATE, token=token),
        client.gql(SIGN_OUT, token=token),
        client.http.get("/session/validate", headers=headers),
        client.http.delete("/session", headers=headers),
        client.http.post("/session"),
    ]


async def live_sessions(db: Any) -> int:
    count: int = await db.fetchval("SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL")
    return count


async def lock_user(db: Any, guest: Any) -> None:
    await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(guest.user_id))


async def until(db: Any, finds: str) -> None:
    """Waits until a query finds something."""
    async with asyncio.timeout(30):
        while not await db.fetchval(finds):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.01)


async def until_someone_waits(db: Any) -> None:
    await until(
        db,
        "SELECT count(*) FROM pg_locks"
        " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))",
    )


async def kill_connections(db: Any) -> None:
    """Ends every connection of the application, and waits until they are gone."""
    await db.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {APP}")


# Away


@pytest.mark.parametrize("fault", ["refused", "cut", "frozen"])
async def test_a_database_that_is_away_is_503_and_no_verdict(
    client: Any, proxy: Proxy, db: Any, fault: str
) -> None:
    guest = await client.guest()
    if fault == "frozen":
        proxy.freeze()
    else:
        proxy.refuse()
        proxy.cut()
    for response in await asyncio.gather(*every_request(client, guest.token)):
        assert_unavailable(response)
    await proxy.heal()
    assert (await client.gql(ME, token=guest.token)).status_code == 200
    assert await live_sessions(db) == 1


async def test_a_connection_that_was_lost_is_replaced_unseen(client: Any, proxy: Proxy) -> None:
    guest = await client.guest()
    for _ in range(3):
        proxy.cut()
        assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_a_database_that_is_down_at_the_start_is_found_later(
    client: Any, start_app: Any, proxy: Proxy
) -> None:
    guest = await client.guest()
    proxy.refuse()
    proxy.cut()
    early = await start_app(DATABASE_URL=SecretStr(proxy.url), DATABASE_TIMEOUT=TIMEOUT)
    assert_unavailable(await early.gql(ME, token=guest.token))
    assert (await early.http.get("/healthz")).status_code == 200
    assert (await early.http.get("/readyz")).status_code == 503
    await proxy.heal()
    assert (await early.gql(ME, token=guest.token)).status_code == 200
    assert (await early.http.get("/readyz")).status_code == 200


async def test_what_needs_no_database_is_answered_without_one(client: Any, proxy: Proxy) -> None:
    guest = await client.guest()
    proxy.refuse()
    proxy.cut()
    forged = await client.gql(ME, token=guest.token[:-4] + "AAAA")
    assert forged.status_code == 401
    assert (await client.gql(ME)).json() == {"data": {"viewer": None}}


async def test_a_forged_token_is_refused_by_a_server_that_never_saw_its_database(
    start_app: Any, proxy: Proxy, client: Any
) -> None:
    forged = (await client.guest()).token[:-4] + "AAAA"
    proxy.refuse()
    proxy.cut()
    early = await start_app(DATABASE_URL=SecretStr(proxy.url), DATABASE_TIMEOUT=TIMEOUT)
    assert (await early.gql(ME, token=forged)).status_code == 401


async def test_a_write_that_is_cut_is_503_and_undone(client: Any, proxy: Proxy, db: Any) -> None:
    guest = await client.guest()
    async with db.transaction():
        await lock_user(db, guest)
        under_way = asyncio.ensure_future(client.gql(SIGN_OUT, token=guest.token))
        await until_someone_waits(db)
        proxy.cut()
        assert_unavailable(await under_way)
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_a_server_ends_although_its_database_is_frozen(
    make_settings: Any, client: Any, proxy: Proxy
) -> None:
    application = create_app(make_settings(DATABASE_URL=SecretStr(proxy.url)))
    async with asyncio.timeout(20):
        async with application.router.lifespan_context(application):
            there = type(client)(application)
            await asyncio.gather(*(there.guest() for _ in range(3)))
            proxy.freeze()
        await there.http.aclose()


# Locked, full, killed


async def test_a_row_that_stays_locked_is_503_and_reads_go_on(client: Any, db: Any) -> None:
    guest = await client.guest()
    async with db.transaction():
        await lock_user(db, guest)
        stuck = [client.gql(query, token=guest.token) for query in (SIGN_OUT, CREATE)]
        read = client.gql(ME, token=guest.token)
        *answers, seen = await asyncio.gather(*stuck, read)
    for answer in answers:
        assert_unavailable(answer)
    assert seen.status_code == 200
    assert await live_sessions(db) == 1


async def test_a_locked_table_is_503_for_the_door_which_asks_once(
    client: Any, db: Any, statements: list[str]
) -> None:
    guest = await client.guest()
    async with db.transaction():
        await db.execute("LOCK TABLE user_sessions")
        statements.clear()
        assert_unavailable(await client.gql(ME, token=guest.token))
    assert len([sent for sent in statements if DOOR in sent]) == 1
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_a_frozen_database_is_asked_once(
    client: Any, proxy: Proxy, statements: list[str]
) -> None:
    guest = await client.guest()
    await client.data(ME, token=guest.token)
    statements.clear()
    proxy.freeze()
    assert_unavailable(await client.gql(ME, token=guest.token))
    assert len([sent for sent in statements if DOOR in sent]) == 1


async def test_a_pool_without_a_free_connection_is_503(
    start_app: Any, proxy: Proxy, db: Any
) -> None:
    small = await start_app(
        DATABASE_URL=SecretStr(proxy.url), DATABASE_TIMEOUT=TIMEOUT, DATABASE_POOL_SIZE=1
    )
    guest = await small.guest()
    async with db.transaction():
        await lock_user(db, guest)
        # Two seconds' worth of writers for the one connection.
        requests = [small.gql(SIGN_OUT, token=guest.token) for _ in range(6)]
        for answer in await asyncio.gather(*requests):
            assert_unavailable(answer)
    assert (await small.gql(ME, token=guest.token)).status_code == 200
    assert await db.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {APP}") <= 1


async def test_one_users_writes_do_not_hold_the_connections_of_all(
    start_app: Any, db: Any, until_waiting: Any
) -> None:
    """They wait for each other with one connection, so that everybody else goes on."""
    client = await start_app(DATABASE_POOL_SIZE=2)
    busy, other = await client.guest(), await client.guest()
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(busy.user_id))
        writes = [asyncio.ensure_future(client.gql(CODE, token=busy.token)) for _ in range(10)]
        await until_waiting(*writes)
        assert (await client.gql(ME, token=other.token)).status_code == 200
        assert (await client.gql(ME, token=busy.token)).status_code == 200
        assert not any(write.done() for write in writes)
    assert {write.status_code for write in await asyncio.gather(*writes)} == {200}


async def test_killed_connections_are_noticed_by_nobody(client: Any, db: Any) -> None:
    guest = await client.guest()
    await asyncio.gather(*(client.data(MINE, token=guest.token) for _ in range(8)))
    await kill_connections(db)
    answers = await asyncio.gather(*(client.gql(ME, token=guest.token) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_write_does_not_begin_on_a_connection_that_was_killed(client: Any, db: Any) -> None:
    await asyncio.gather(*(client.guest() for _ in range(4)))
    await kill_connections(db)
    await asyncio.sleep(0.2)  # the news is on its way to the server's event loop
    answers = await asyncio.gather(*(client.gql(CREATE) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_read_whose_connection_is_killed_under_it_is_tried_once_more(
    client: Any, db: Any, statements: list[str]
) -> None:
    guest = await client.guest()
    await client.data(ME, token=guest.token)
    statements.clear()
    async with db.transaction():
        await db.execute("LOCK TABLE user_sessions")
        under_way = asyncio.ensure_future(client.gql(ME, token=guest.token))
        await until_someone_waits(db)
        await kill_connections(db)
    assert (await under_way).status_code == 200
    assert len([sent for sent in statements if DOOR in sent]) == 2


# Not migrated, read-only


async def test_a_database_that_is_not_migrated_is_503_and_readyz_says_what_to_do(
    client: Any, start_app: Any, empty_database_url: str
) -> None:
    guest = await client.guest()
    bare = await start_app(DATABASE_URL=SecretStr(empty_database_url))
    for response in await asyncio.gather(*every_request(bare, guest.token)):
        assert_unavailable(response)
    ready = await bare.http.get("/readyz")
    assert ready.status_code == 503
    assert "make migrate" in ready.json()["checks"]["migrations"]


async def test_a_database_that_became_read_only_still_reads(client: Any, db: Any) -> None:
    guest = await client.guest()
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await kill_connections(db)
    for query in (CREATE, SIGN_OUT):
        assert_unavailable(await client.gql(query, token=guest.token))
    for query in (ME, MINE):
        assert (await client.gql(query, token=guest.token)).status_code == 200
    assert await live_sessions(db) == 1


async def test_one_refused_write_is_enough_to_leave_a_read_only_server(
    client: Any, db: Any
) -> None:
    guest = await client.guest()
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await kill_connections(db)
    await asyncio.gather(*(client.data(MINE, token=guest.token) for _ in range(8)))
    await db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert_unavailable(await client.gql(CREATE))
    answers = await asyncio.gather(*(client.gql(CREATE) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


# The deadline


async def test_a_write_past_its_deadline_is_dropped_and_not_cancelled(
    start_app: Any, proxy: Proxy, db: Any
) -> None:
    # Behind a pooler no timeout of the server's own comes first.
    client = await start_app(
        DATABASE_URL=SecretStr(proxy.url), DATABASE_TIMEOUT=TIMEOUT, DATABASE_POOLER="transaction"
    )
    guest = await client.guest()
    async with db.transaction():
        await lock_user(db, guest)
        assert_unavailable(await client.gql(SIGN_OUT, token=guest.token))
    assert CANCEL_REQUEST not in proxy.begun
    assert (await client.gql(ME, token=guest.token)).status_code == 200
    assert await live_sessions(db) == 1


@pytest.mark.parametrize("query", [ME, SIGN_OUT], ids=["read", "write"])
async def test_a_request_that_is_called_off_sends_no_cancel_and_leaves_the_pool_healthy(
    start_app: Any, proxy: Proxy, db: Any, query: str
) -> None:
    client = await start_app(DATABASE_URL=SecretStr(proxy.url), DATABASE_POOL_SIZE=1)
    guest = await client.guest()
    async with db.transaction():
        if query == ME:
            await db.execute("LOCK TABLE user_sessions")
        else:
            await lock_user(db, guest)
        # One waits for the row, the others for the connection.
        requests = [asyncio.ensure_future(client.gql(query, token=guest.token)) for _ in range(4)]
        await until_someone_waits(db)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
    assert all(request.cancelled() for request in requests)
    for _ in range(3):
        assert (await client.gql(ME, token=guest.token)).status_code == 200
    assert CANCEL_REQUEST not in proxy.begun
    assert await db.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {APP}") <= 2


# A cluster of one's own, whose standby is missing, or is all there is


async def test_a_connection_whose_end_was_announced_is_a_lost_one(
    client: Any, proxy: Proxy
) -> None:
    guest = await client.guest()
    await asyncio.gather(*(client.gql(CREATE) for _ in range(4)))
    proxy.announce_end()
    await asyncio.sleep(0.1)  # until all have read it
    assert (await client.gql(ME, token=guest.token)).status_code == 200
    proxy.announce_end()
    await asyncio.sleep(0.1)
    for response in (await client.gql(CREATE), await client.gql(CODE, token=guest.token)):
        assert response.status_code in {200, 503}
    assert (await client.gql(ME, token=guest.token)).status_code == 200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Embedded]:
    """A migrated cluster that may be mistreated."""
    state = tmp_path_factory.mktemp("cluster") / ".state"
    own = embedded.join(state)
    try:
        migrations.upgrade(own.url)
        yield own
    finally:
        own.leave()
        embedded.remove(state)


@pytest.fixture
async def admin(cluster: embedded.Embedded) -> AsyncIterator[Any]:
    """A superuser's connection to it."""
    connection = await asyncpg.connect(cluster.url.replace("//bigtwo@", "//postgres@", 1))
    yield connection
    await connection.close()


@pytest.fixture
async def synchronous_standby(admin: Any) -> AsyncIterator[Any]:
    """Names the standby that commits wait for; none afterwards."""

    async def wait_for(standby: str) -> None:
        await admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        await admin.execute("SELECT pg_reload_conf()")
        await until(admin, f"SELECT current_setting('synchronous_standby_names') = '{standby}'")

    yield wait_for
    await wait_for("")


@pytest.mark.parametrize("how", ["deadline", "called off"])
async def test_a_revoke_that_no_standby_confirmed_is_not_seen_before_it_is(
    start_app: Any, cluster: embedded.Embedded, admin: Any, synchronous_standby: Any, how: str
) -> None:
    async with proxied(cluster.url) as proxy:
        client = await start_app(DATABASE_URL=SecretStr(proxy.url), DATABASE_TIMEOUT=TIMEOUT)
        guest = await client.guest()
        await synchronous_standby("missing")
        first = asyncio.ensure_future(client.gql(SIGN_OUT, token=guest.token))
        await until(admin, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        if how == "called off":
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        else:
            assert_unavailable(await first)
        assert (await client.gql(ME, token=guest.token)).status_code == 200
        assert_unavailable(await client.gql(SIGN_OUT, token=guest.token))
        assert (await client.gql(ME, token=guest.token)).status_code == 200
        await synchronous_standby("")
        await until(admin, f"SELECT revoked_at FROM user_sessions WHERE id = '{guest.session_id}'")
        refused = await client.gql(ME, token=guest.token)
        assert refused.json()["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"
        assert CANCEL_REQUEST not in proxy.begun


@pytest.fixture
def standby(cluster: embedded.Embedded) -> Iterator[str]:
    """The URL of a standby of the cluster."""
    bin_dir = embedded.programs()
    if not (bin_dir / "pg_basebackup").exists():
        pytest.skip("these PostgreSQL binaries have no pg_basebackup")
    root = os.geteuid() == 0
    account = pwd.getpwnam("nobody") if root else None
    who: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    folder = Path(tempfile.mkdtemp(prefix="bigtwo-standby-"))
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
        who |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = folder / "data"
    primary = parse_qs(urlsplit(cluster.url).query)["host"][0]
    copy: list[Any] = [bin_dir / "pg_basebackup", f"--host={primary}", "--username=postgres"]
    subprocess.run([*copy, "--checkpoint=fast", "-R", "-D", data], check=True, **who)
    options = ["-k", str(folder), "--listen_addresses=", "--max_connections=200"]
    server = subprocess.Popen([bin_dir / "postgres", "-D", data, *options], **who)
    try:
        yield f"postgresql://bigtwo@/bigtwo?host={quote(str(folder), safe='')}&port=5432"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(folder)


async def until_replayed(url: str, guest: Any) -> None:
    """Waits until the standby takes queries and has the guest's session."""
    async with asyncio.timeout(60):
        while not await has_session(url, guest):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)


async def has_session(url: str, guest: Any) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return False
    found = await connection.fetchval(
        "SELECT count(*) FROM user_sessions WHERE id = $1", UUID(guest.session_id)
    )
    await connection.close()
    return bool(found)


def token_of_another_session(services: Any, guest: Any) -> str:
    """A token of the guest for a session that no row is there of."""
    now = datetime.now(UTC)
    return tokens.mint(
        services.keys,
        services.profile,
        user_id=UUID(guest.user_id),
        session_id=uuid4(),
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )


async def test_a_standby_says_neither_yes_nor_no_until_it_is_promoted(
    start_app: Any, cluster: embedded.Embedded, admin: Any, standby: str, statements: list[str]
) -> None:
    primary = await start_app(DATABASE_URL=SecretStr(cluster.url))
    guest, unknown = await primary.guest(), await primary.guest()
    await admin.execute("DELETE FROM user_sessions WHERE id = $1", UUID(unknown.session_id))
    await until_replayed(standby, guest)
    there = await start_app(DATABASE_URL=SecretStr(standby))
    assert_unavailable(await there.gql(ME, token=unknown.token))
    statements.clear()
    assert_unavailable(await there.gql(ME, token=guest.token))
    assert len([sent for sent in statements if DOOR in sent]) == 1
    for response in await asyncio.gather(*every_request(there, guest.token)):
        assert_unavailable(response)
    # A session that is not there, of a user whose other ones are read along.
    assert (await there.gql(MINE)).status_code == 200  # its body is known from here on
    absent = token_of_another_session(there.services, guest)
    assert_unavailable(await there.gql(MINE, token=absent))
    ready = await there.http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["primary"]) == (503, "this is a standby")
    connection = await asyncpg.connect(standby.replace("//bigtwo@", "//postgres@", 1))
    await connection.execute("SELECT pg_promote()")
    await connection.close()
    assert (await there.gql(ME, token=guest.token)).status_code == 200
    assert (await there.gql(SIGN_OUT, token=guest.token)).status_code == 200
    assert (await there.gql(ME, token=guest.token)).status_code == 401


async def test_connecting_that_is_called_off_leaves_no_error_to_nobody() -> None:
    """A deadline comes at any step, and asyncpg's first ones, broken off, would leave one."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    arguments = connect_arguments(
        f"postgresql://a:b@127.0.0.1:{server.sockets[0].getsockname()[1]}/c", timeout=5
    )
    connect = arguments.pop("async_creator_fn")
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        for steps in range(12):
            connecting = asyncio.create_task(connect(**arguments))
            for _ in range(steps):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait({connecting})
        await asyncio.sleep(0.1)
        gc.collect()
    finally:
        loop.set_exception_handler(usual)
        server.close()
    assert reported == []
