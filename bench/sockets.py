"""How soon a revocation reaches open sockets, and what telling about it costs those who revoke.

Two servers, each a process, on one database. Latency: 1,000 sockets, a session each, spread over
both; sessions are revoked one by one, then all that are left by one filter of an operator's. It is
measured from the answer, which the commit precedes, to the close frame, by one clock. Throughput:
createSession and revokeSession over HTTP, with the bus on and with one that tells its own process
only, alternating.
"""

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx2
from ground import run, show

ROOT = Path(__file__).resolve().parent.parent
SOCKETS = int(os.environ.get("SOCKETS", "1000"))
ONE_BY_ONE = SOCKETS // 2
AT_ONCE = 16  # HTTP clients
OPENED_AT_ONCE = 50
OPERATIONS = int(os.environ.get("PAIRS", "400"))  # pairs of a create and a revoke, in a round
ROUNDS = 3
SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"  # noqa: S105 - signs nothing that lives
CREATE = "mutation { createSession { token } }"
REVOKE = "mutation { revokeSession { status } }"


# A server whose bus reaches its own process only.
SILENT = (
    "-c",
    "from db.bus import Bus; Bus.tell = lambda bus, ids: bus._hear(ids);"  # noqa: ISC004
    "import app; app.cli.main(app.create_app)",
)


@asynccontextmanager
async def serving(
    url: str, command: tuple[str, ...] = ("app.py",)
) -> AsyncIterator[tuple[list[int], list[int]]]:
    """The ports of two servers, and their processes."""
    with ExitStack() as servers:
        running = [servers.enter_context(started(url, command)) for _ in range(2)]
        ports = [await port_in(log) for log, _ in running]
        for port in ports:
            await until_served(port)
        yield ports, [pid for _, pid in running]


def cpu(pids: list[int]) -> float:
    """The CPU seconds that processes have used so far."""
    used = 0
    for pid in pids:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        used += int(user) + int(system)
    return used / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(url: str, command: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    """A server: where its log is, and its process."""
    settings = {"DATABASE_URL": url, "JWT_SECRET": SECRET, "PORT": "0", "GRAPHIQL": "0"}
    limits = {"GUEST_RATE_LIMIT": "0", "SESSION_CLEANUP_INTERVAL": "0", "LOG_FORMAT": "json"}
    with NamedTemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own server
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | settings | limits,
            stdout=log,
        )
        try:
            yield Path(log.name), process.pid
        finally:
            process.terminate()
            process.wait()


async def port_in(log: Path) -> int:
    """The port that a server's first line names."""
    while not (lines := log.read_text().splitlines()):  # noqa: ASYNC110, ASYNC240 - another process
        await asyncio.sleep(0.1)
    return int(json.loads(lines[0])["health"].rpartition(":")[2].partition("/")[0])


async def until_served(port: int) -> None:
    """Waits until a server answers."""
    while True:
        try:
            async with httpx2.AsyncClient() as http:
                if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:  # noqa: PLR2004
                    return
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.1)


class Http:
    """A lean client: one connection, one request after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def gql(self, query: str, token: str = "") -> Any:
        """An operation's data."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = json.dumps({"query": query})
        credential = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(
            f"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{credential}"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        return json.loads(await reader.readexactly(length))["data"]


class Socket(asyncio.Protocol):
    """A lean WebSocket client: it initialises, and notes when the close frame came."""

    def __init__(self, token: str) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.code = 0
        self._token = token
        self._data = b""
        self._is_open = False

    def connection_made(self, transport: Any) -> None:
        """Asks for the upgrade."""
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            "GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Reads what the server sends: short frames, unmasked."""
        self._data += data
        if not self._is_open and b"\r\n\r\n" in self._data:
            self._data = self._data.partition(b"\r\n\r\n")[2]
            self._is_open = True
            payload = {"Authorization": f"Bearer {self._token}"}
            self._send(json.dumps({"type": "connection_init", "payload": payload}).encode())
        while self._is_open and len(self._data) > 1 and len(self._data) >= 2 + self._data[1]:
            opcode, length = self._data[0] & 15, self._data[1]
            body, self._data = self._data[2 : 2 + length], self._data[2 + length :]
            self._take(opcode, body)

    def _take(self, opcode: int, body: bytes) -> None:
        if opcode == 8 and not self.closed.done():  # noqa: PLR2004 - RFC 6455 5.2
            self.code = int.from_bytes(body[:2], "big")
            self.closed.set_result(time.perf_counter())
            if not self.ready.done():
                self.ready.set_exception(RuntimeError(f"closed with {self.code}"))
            self._transport.close()
        elif opcode == 9:  # noqa: PLR2004
            self._transport.write(bytes([0x8A, 0x80 | len(body), 0, 0, 0, 0]) + body)
        elif not self.ready.done():
            self.ready.set_result(None)

    def _send(self, text: bytes) -> None:
        self._transport.write(b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text)


async def guests(ports: list[int], count: int) -> list[str]:
    """The tokens of so many guests."""
    waiting = iter(range(count))
    tokens: list[str] = []

    async def make(port: int) -> None:
        http = Http(port)
        for _ in waiting:
            made = await http.gql(CREATE)
            tokens.append(made["createSession"]["token"])

    await asyncio.gather(*(make(port) for port in ports for _ in range(AT_ONCE // len(ports))))
    return tokens


async def latency(url: str) -> None:
    """Measures how soon sockets are closed."""
    async with serving(url) as (ports, _):
        tokens = await guests(ports, SOCKETS)
        loop = asyncio.get_running_loop()
        sockets = [Socket(token) for token in tokens]
        for first in range(0, SOCKETS, OPENED_AT_ONCE):
            for number in range(first, min(SOCKETS, first + OPENED_AT_ONCE)):
                factory = partial(itself, sockets[number])
                await loop.create_connection(factory, "127.0.0.1", ports[number % 2])
            await asyncio.gather(*(each.ready for each in sockets[first : first + OPENED_AT_ONCE]))
        await asyncio.sleep(1)
        for title, other in (("same worker", 0), ("other worker", 1)):
            took = await one_by_one(
                ports, tokens[other::2][: ONE_BY_ONE // 2], sockets[other::2], 0
            )
            tell(f"revoked over HTTP, socket on the {title}", took)
        left = [each for each in sockets if not each.closed.done()]
        environment = os.environ | {"DATABASE_URL": url, "JWT_SECRET": SECRET}
        command = [sys.executable, "app.py", "sessions", "revoke", "--status", "ACTIVE", "--apply"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        await process.wait()
        ended = time.perf_counter()
        closed = await asyncio.gather(*(each.closed for each in left))
        after = max(closed) - ended
        print(f"{len(left)} by one command: the last closed {after:+.3f} s after its end")
        if {each.code for each in sockets} != {4401}:
            raise RuntimeError("another close code than 4401")


def itself(each: Socket) -> Socket:
    """What asyncio calls a factory."""
    return each


async def one_by_one(
    ports: list[int], tokens: list[str], sockets: list[Socket], worker: int
) -> list[float]:
    """Milliseconds from each revocation's answer by a worker to the close of its socket."""
    http, took = Http(ports[worker]), []
    for token, each in zip(tokens, sockets, strict=False):
        await http.gql(REVOKE, token)
        answered = time.perf_counter()
        took.append(max(0.0, (await each.closed - answered)) * 1000)
    return took


def tell(title: str, milliseconds: list[float]) -> None:
    """p50, p99 and the slowest."""
    ordered = sorted(milliseconds)
    p50, p99 = statistics.median(ordered), ordered[int(0.99 * len(ordered))]
    print(f"{title:<50} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   slowest {ordered[-1]:6.1f} ms")


async def throughput(url: str) -> None:
    """Measures creating and revoking, with the bus and without."""
    rates: dict[str, list[float]] = {"on": [], "off": []}
    costs: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(ROUNDS):
        for bus, command in (("on", ("app.py",)), ("off", SILENT)):
            async with serving(url, command) as (ports, pids):
                waiting = iter(range(OPERATIONS))

                async def work(port: int, waiting: Any = waiting) -> None:
                    http = Http(port)
                    for _ in waiting:
                        token = (await http.gql(CREATE))["createSession"]["token"]
                        await http.gql(REVOKE, token)

                await guests(ports, 50)
                began, used = time.perf_counter(), cpu(pids)
                await asyncio.gather(*(work(port) for port in ports for _ in range(AT_ONCE // 2)))
                rates[bus].append(OPERATIONS / (time.perf_counter() - began))
                costs[bus].append((cpu(pids) - used) / OPERATIONS * 1000)
    for bus, values in rates.items():
        show(f"create and revoke, bus {bus}", values, "pairs a second")
        show("  CPU of the servers", costs[bus], "ms a pair")


async def bench(url: str) -> None:
    """Measures and prints."""
    await latency(url)
    await throughput(url)


if __name__ == "__main__":
    run(bench)
