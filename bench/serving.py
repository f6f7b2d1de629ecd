"""Contenders' servers: started on the server's core, spoken to, measured from outside, ended."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import environments
import machine
from dialects import Request
from lineup import Contender
from load import Plan, Tally

PATIENCE = 60  # seconds until a server answers, or ends
LOAD = Path(__file__).with_name("load.py")


@dataclass(frozen=True)
class Server:
    """A contender that runs."""

    contender: Contender
    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process whose tree serves."""
        return self.process.pid

    def ask(self, request: Request) -> tuple[int, Any]:
        """One answer, outside of any load: its status and its JSON, or its text."""
        head, _, body = request.text.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            headers = dict(line.split(": ", 1) for line in lines)
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        with suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text.decode()


@contextmanager
def running(
    contender: Contender, program: Path, environment: dict[str, str], to: list[int] = machine.SERVER
) -> Iterator[Server]:
    """The contender's server for the block, on these cores."""
    port = free_port()
    words = contender.words.format(port=port).split()
    environments.STATE.mkdir(parents=True, exist_ok=True)
    log = environments.STATE / f"{contender.name}.log"
    with log.open("wb") as output, machine.pinned(to):
        process = subprocess.Popen(  # noqa: S603 - a contender, and no shell
            [program, *words],
            cwd=contender.folder,
            env=environment | {"PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(process, port, log)
        yield Server(contender, port, process)
    finally:
        end(process)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns when the server takes connections. Raises Missing when it does not."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise environments.Missing(
        f"its server did not start; see {log.relative_to(environments.ROOT)}"
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server, in order if it can."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def put_under_load(
    server: Server,
    requests: list[Request],
    seconds: float,
    *,
    connections: int = 32,
    again: bool = True,
) -> Tally:
    """What came of a load, sent by a process beside the server's core."""
    texts = [(request.text, request.mark) for request in requests]
    plan = Plan(server.port, connections, seconds, requests[0].status, texts, again)
    with machine.pinned(machine.OTHERS):
        client = await asyncio.create_subprocess_exec(
            sys.executable, LOAD, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
    told, _ = await client.communicate(json.dumps(asdict(plan)).encode())
    if client.returncode:
        raise RuntimeError(f"the load on {server.contender.name} failed")
    return Tally(**json.loads(told))
