"""Servers as a person starts them: real processes, and what they say and hold."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from settings import Settings

PORT_HELD_AT_MOST = 5  # seconds, after whatever end
SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"
SLOW = 60  # seconds until a test gives up; nothing is expected to take as long
CREATE = "mutation { createSession { token session { id } } }"
LIST = "{ mySessions { id isCurrent } }"
MAKE = ("make", "serve")
APP = (".venv/bin/python", "app.py")


def until(check: Callable[[], Any], seconds: float = SLOW) -> Any:
    """What check answers once that is true; fails when it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return answer


def is_free(port: int) -> bool:
    """Whether a server could listen on a port."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def children(pid: int, text: str = "") -> list[int]:
    """The processes that a process started, those with a text in their command."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and text in row[2]]


def is_alive(pid: int) -> bool:
    """Whether a process is there; one whose end nobody took note of is not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.strip().startswith(b"Z")


@dataclass
class Server:
    """A server's processes, as their starter sees them."""

    process: subprocess.Popen[bytes]
    log: Path
    base: str = ""
    data: Path = Path()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.base.rpartition(":")[2])

    @property
    def parent(self) -> int:
        """The process that listens: make's child, or the one that was started."""
        pid = self.process.pid
        return children(pid)[0] if self.process.args == MAKE else pid

    @property
    def workers(self) -> list[int]:
        """The parent's, if there are several."""
        return children(self.parent, "spawn_main")

    @property
    def postmaster(self) -> int:
        """Of the embedded database."""
        return int((self.data / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def said(self) -> str:
        """All it printed, in both streams."""
        return self.log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]

    def answers(self, path: str = "/healthz", status: int = 200) -> bool:
        """Whether a path answers so."""
        try:
            return httpx2.get(self.base + path, timeout=SLOW).status_code == status
        except httpx2.TransportError:
            return False

    def gql(self, query: str, token: str = "") -> httpx2.Response:
        """An operation's answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.post(
            f"{self.base}/graphql", json={"query": query}, headers=headers, timeout=SLOW
        )

    def create(self) -> tuple[str, str]:
        """A new guest's token and session."""
        created = self.gql(CREATE).json()["data"]["createSession"]
        return created["token"], created["session"]["id"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(SLOW)


def environment(**changes: str) -> dict[str, str]:
    """This one without our settings and make's, on any port, with changes. Nothing is fetched."""
    others = {*Settings.model_fields, "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in others}
    ours = {"PORT": "0", "GRAPHIQL": "0", "SESSIONS_PAGE": "0", "GUEST_RATE_LIMIT": "0"}
    return kept | ours | changes


def is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process group has ended, which it is made to."""
    process.poll()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


Start = Callable[..., Server]
StartOn = Callable[..., Server]


@contextmanager
def starting(clone: Path, tmp_path: Path) -> Iterator[Start]:
    """What starts servers in a clone, each in a process group of its own, as a shell does."""
    started: list[Server] = []

    def begin(command: tuple[str, ...] = MAKE, **changes: str) -> Server:
        """Starts one, and waits until it answers."""
        log = tmp_path / f"log{len(started)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=clone,
                env=environment(**changes),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, log)
        started.append(server)
        line = until(lambda: server.lines() or process.poll() is not None)
        assert line is not True, server.said
        server.base = line[0]["health"].removesuffix("/healthz")
        server.data = Path(line[0]["data"])
        until(server.answers)
        return server

    try:
        yield begin
    finally:
        for server in started:
            until(partial(is_over, server.process))
