"""Restarting without pain: nothing that was begun is cut, and whoever comes meanwhile is served."""

import asyncio
import json
import os
import pty
import re
import select
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from server import leaving
from server import run as serving
from tests.peer import Peer, request
from tests.servers import (
    APP,
    CREATE,
    LIST,
    SECRET,
    SLOW,
    Server,
    StartOn,
    environment,
    is_free,
    until,
)
from web.departure import Departure
from web.edge import Edge, Rescue

FOR_EVER = "600"  # seconds, compared with a test
PAUSE = 0.02  # seconds between two requests of a client
AGED = "UPDATE user_sessions SET last_active_at = last_active_at - interval '1 hour'"
UNUSED = "SELECT count(*) FROM user_sessions WHERE last_active_at < now() - interval '30 minutes'"

UntilWaiting = Callable[..., Awaitable[None]]


def events(server: Server, name: str) -> list[dict[str, Any]]:
    """The lines of its log about something."""
    return [line for line in server.lines() if line["event"] == name]


# A signal


@pytest.mark.parametrize("workers", ["1", "2"])
def test_for_the_delay_it_is_not_ready_and_serves(start_on: StartOn, workers: str) -> None:
    """New connections too, and every answer asks to connect anew. A second signal ends it."""
    server = start_on(WORKERS=workers, SHUTDOWN_DELAY=FOR_EVER)
    token, _ = server.create()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: all(server.answers("/readyz", 503) for _ in range(9)))
    told = httpx2.get(f"{server.base}/readyz")
    assert told.json() == {"status": "not ready", "checks": {"server": "leaving"}}
    for answer in (told, server.gql(LIST, token), httpx2.get(f"{server.base}/healthz")):
        assert answer.headers["Connection"] == "close"
    assert server.gql(LIST, token).status_code == 200
    time.sleep(leaving.SAME)  # sooner it would be the first one, told twice
    assert server.stop() == 0
    assert is_free(server.port)


def test_a_signal_that_is_told_twice_at_once_is_one(start_on: StartOn) -> None:
    """As make and a service manager do it, of which each passes it on."""
    server = start_on(SHUTDOWN_DELAY="2")
    token, _ = server.create()
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.answers("/readyz", 503))
    assert server.gql(LIST, token).status_code == 200


async def test_what_was_used_last_is_written_down(start_on: StartOn, db: Any) -> None:
    """Although the signal comes before the next second's writing."""
    server = start_on(WORKERS="2")
    token, _ = server.create()
    await db.execute(AGED)
    assert server.gql(LIST, token).status_code == 200
    assert server.stop() == 0
    assert await db.fetchval(UNUSED) == 0


async def test_what_does_not_end_is_answered_after_10_seconds(
    start_on: StartOn, db: Any, until_waiting: UntilWaiting
) -> None:
    """That nobody can say, instead of a cut connection; then the server is gone."""
    server = start_on(WORKERS="2", DATABASE_TIMEOUT="60")
    client, peer = Client(server.port), Peer(server.base)
    token, _ = server.create()
    await db.execute("UPDATE user_sessions SET last_active_at = statement_timestamp()")
    body = json.dumps({"query": LIST}).encode()
    fields = (b"Content-Type: application/json", f"Authorization: Bearer {token}".encode())
    known = request(body, *fields)
    assert [peer.send(known)[0] for _ in range(5)] == [200] * 5  # the last ones the short way
    async with db.transaction():
        await db.execute("LOCK TABLE users")
        asked = asyncio.create_task(client.ask("POST", "/session"))
        peer.socket.sendall(known)
        await until_waiting(asked, count=2)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(until, lambda: is_free(server.port))
        answer = await asked
        assert answer.status == 503
        assert answer.headers["connection"] == "close"
        assert answer.headers["retry-after"]
        status, headers, _ = await asyncio.to_thread(peer.whole)
        assert (status, headers[b"connection"]) == (503, b"close")
        assert await asyncio.to_thread(server.process.wait, 60) == 0
    peer.socket.close()
    assert sum(line["count"] for line in events(server, "requests_cut")) == 2


async def test_streams_and_sockets_end_after_the_requests() -> None:
    """Nobody waits for a stream, everybody for an operation on it; the rest comes last."""
    stage = Stage()
    async with AsyncExitStack() as clients:
        server, port = clients.enter_context(stage.served())
        stream = await clients.enter_async_context(aclosing(Client(port)))
        request = await clients.enter_async_context(aclosing(Client(port)))
        streaming = asyncio.create_task(stream.ask("GET", "/stream"))
        asked = asyncio.create_task(request.ask("GET", "/request"))
        departure = stage.departure
        await asyncio.to_thread(until, lambda: (departure.streams, departure.requests) == (1, 2))
        server.should_exit = True
        await asyncio.to_thread(until, lambda: departure.has_begun)
        stage.busy = 1
        stage.may_answer.set()
        assert (await asked).body == b"answered"
        await asyncio.sleep(0.2)  # in which it must not go on
        assert stage.done == ["answered"]
        stage.busy = 0
        assert (await streaming).body == b"onetwo"
    assert stage.done == ["answered", "closed", "streamed", "over"]


@dataclass
class Stage:
    """A server with a request that waits to be let go, a stream, and what closes that."""

    busy: int = 0
    departure: Departure = field(default_factory=Departure)
    done: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def close_all(self) -> None:
        """Ends the stream."""
        self.done.append("closed")
        self.may_end.set()

    async def answer(self, request: Request) -> PlainTextResponse:
        """Waits."""
        del request
        await asyncio.to_thread(self.may_answer.wait)
        self.done.append("answered")
        return PlainTextResponse("answered")

    async def stream(self, request: Request) -> StreamingResponse:
        """Says something, and something more when it ends."""
        del request

        async def parts() -> AsyncIterator[str]:
            with self.departure.stream():
                yield "one"
                await self.may_end.wait()
                self.done.append("streamed")
                yield "two"

        return StreamingResponse(parts())

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        """Tells the server how to leave."""
        del app
        self.departure.connected.append(self)
        yield {"departure": self.departure}
        self.done.append("over")

    @contextmanager
    def served(self) -> Iterator[tuple[leaving.Server, int]]:
        """Served in a thread."""
        app = Starlette(
            routes=[Route("/stream", self.stream), Route("/request", self.answer)],
            lifespan=self.lifespan,
        )
        edged = Edge(Rescue(app, self.departure), self.departure)
        config = uvicorn.Config(edged, http="h11", ws="none", log_config=None)
        server = leaving.Server(config, delay=0)
        listener = serving.listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server, port
        finally:
            server.should_exit = True
            thread.join(20)


# A roll


async def test_a_roll_loses_nothing(start_on: StartOn, db: Any) -> None:
    """Of what three clients send all the time; all workers are others afterwards."""
    server = start_on(WORKERS="2")
    before = set(server.workers)
    load = Load(server.port)
    clients = [asyncio.create_task(load.create()) for _ in range(3)]
    await asyncio.sleep(0.5)
    server.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(until, lambda: load.is_over or events(server, "rolled"), 2 * SLOW)
    await asyncio.sleep(0.5)
    load.is_over = True
    await asyncio.gather(*clients)
    assert len(load.created) > 20
    assert set(load.statuses) == {200}
    rows = await db.fetch("SELECT id FROM user_sessions")
    assert load.created <= {str(row["id"]) for row in rows}
    assert len(server.workers) == 2
    assert not before & set(server.workers)
    assert {line["worker"] for line in events(server, "worker_relieved")} == before
    assert not events(server, "requests_cut")


def test_a_new_worker_that_does_not_start_stops_the_roll(start_on: StartOn, clone: Path) -> None:
    """The old ones stay; once the code is mended, a roll brings it into service."""
    server = start_on(WORKERS="2")
    before = set(server.workers)
    app, health = clone / "app.py", clone / "web" / "health.py"
    good = app.read_text()
    app.write_text(good.replace("    departure = Departure()\n", "    raise OSError('no room')\n"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: events(server, "roll_stopped"))
    assert set(server.workers) == before
    assert server.answers("/readyz")
    assert "no room" in server.said
    app.write_text(good)
    health.write_text(health.read_text().replace('"alive"', '"renewed"'))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: events(server, "rolled"), 2 * SLOW)
    assert httpx2.get(f"{server.base}/healthz").json() == {"status": "renewed"}
    assert server.stop() == 0


def test_an_end_is_an_end_while_workers_are_replaced(start_on: StartOn) -> None:
    """Neither a new worker nor an old one stays behind."""
    server = start_on(WORKERS="2")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(server.workers) > 2)
    left = server.workers
    assert server.stop() == 0
    assert is_free(server.port)
    for pid in left:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_on_a_terminal_a_hang_up_is_an_operators_until_the_terminal_is_closed(
    clone: Path, database_url: str
) -> None:
    """Then it ends everything, whatever the delay."""
    settings = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET}
    changes = settings | {"WORKERS": "2", "SHUTDOWN_DELAY": FOR_EVER}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(clone)
        os.execvpe(APP[0], APP, environment(**changes))  # noqa: S606 - no shell
    shown = read_until(terminal, "workers ")
    found = re.search(r"http://127\.0\.0\.1:(\d+)", shown)
    assert found
    until(lambda: answers(f"{found[0]}/healthz"))
    os.kill(pid, signal.SIGHUP)
    read_until(terminal, "rolled ")
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    assert is_free(int(found[1]))


def answers(url: str) -> bool:
    """Whether anything is answered."""
    with suppress(httpx2.TransportError):
        return bool(httpx2.get(url))
    return False


def read_until(terminal: int, text: str) -> str:
    """What a terminal shows, up to a text and a little more."""
    shown = ""
    while text not in shown:
        assert select.select([terminal], [], [], 2 * SLOW)[0], shown
        shown += os.read(terminal, 4096).decode()
    return shown


def test_one_worker_is_not_relieved(start_on: StartOn) -> None:
    """It serves on, and says what would have to be otherwise."""
    server = start_on()
    server.process.send_signal(signal.SIGHUP)
    (line,) = until(lambda: events(server, "not_rolled"))
    assert "WORKERS=2" in line["hint"]
    assert server.answers()


# A client that keeps its connection


class NotAnsweredError(Exception):
    """The connection ended before the first byte of an answer."""


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Keeps a connection as long as it is let."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._reader = asyncio.StreamReader()

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """An answer. Raises NotAnsweredError; IncompleteReadError for one that was cut."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            self._writer.write(head.encode() + body)
            first = await self._reader.read(1)
        except ConnectionError:
            first = b""
        if not first:
            await self.aclose()
            raise NotAnsweredError
        return await self._rest(first)

    async def _rest(self, first: bytes) -> Answer:
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            body = b"".join([chunk async for chunk in self._chunks()])
        if headers.get("connection") == "close":
            await self.aclose()
        return Answer(int(head[0].split()[1]), headers, body)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self._reader.readuntil(b"\r\n")).strip(), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)

    async def aclose(self) -> None:
        """Lets the connection go."""
        if self._writer:
            self._writer.close()
            with suppress(ConnectionError):
                await self._writer.wait_closed()
        self._writer = None


class Load:
    """Clients that make sessions, and send again what was not answered at all."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_over = False
        self.created: set[str] = set()
        self.statuses: list[int] = []

    async def create(self) -> None:
        """One client's work. Raises IncompleteReadError when an answer is cut."""
        client = Client(self._port)
        body = json.dumps({"query": CREATE}).encode()
        try:
            while not self.is_over:
                with suppress(NotAnsweredError):
                    answer = await client.ask("POST", "/graphql", body)
                    self.statuses.append(answer.status)
                    made = json.loads(answer.body)["data"]["createSession"]
                    self.created.add(made["session"]["id"])
                await asyncio.sleep(PAUSE)
        finally:
            self.is_over = True
            await client.aclose()
