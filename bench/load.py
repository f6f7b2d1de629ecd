"""The load: so many connections, each waiting for its answer before it sends the next request.

A process of its own, which reads a Plan as JSON from stdin and writes a Tally as JSON to stdout.
It does as little as it can: requests are bytes made beforehand, one loop over epoll sends and
reads them, and of an answer only the status line, the length and a mark are looked at. The
standard library's epoll is leaner here than any event loop.
"""

import gc
import json
import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle

PATIENCE = 10  # seconds for the answers that are under way when the time is up
HEAD_ENDS = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STATUS = slice(9, 12)  # of "HTTP/1.1 200 OK"


@dataclass(frozen=True)
class Plan:
    """What to send where, and for how long.

    Each request comes with a mark, which only a right answer to it holds.
    """

    port: int
    connections: int
    seconds: float
    status: str
    requests: list[tuple[str, str]]
    again: bool  # whether the requests are sent again when all have been


@dataclass
class Tally:
    """What came of it. Latencies in ms; `seconds` from the first request to the last answer."""

    answered: int = 0
    errors: int = 0
    seconds: float = 0
    cpu: float = 0  # seconds of this process
    latencies: list[float] = field(default_factory=list)


class Connection:
    """One client: its socket, the request that it waits for, what it has read of the answer."""

    __slots__ = ("began", "mark", "read", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = b""
        self.began = 0.0
        self.mark = b""


def is_whole(answer: bytes) -> bool:
    """Whether an answer has been read to its end."""
    end = answer.find(HEAD_ENDS)
    if end < 0:
        return False
    length = LENGTH.search(answer, 0, end)
    if length:
        return len(answer) >= end + len(HEAD_ENDS) + int(length[1])
    return answer.endswith(b"\r\n0\r\n\r\n")  # in chunks


def drive(plan: Plan) -> Tally:
    """Sends until the time is up or nothing is left to send, and waits for what is under way."""
    tally = Tally()
    left: Iterator[tuple[bytes, bytes]] = iter(
        [(text.encode("latin-1"), mark.encode()) for text, mark in plan.requests]
    )
    if plan.again:
        left = cycle(list(left))
    clients = {
        c.socket.fileno(): c for c in (Connection(plan.port) for _ in range(plan.connections))
    }
    poller = select.epoll() if hasattr(select, "epoll") else select.poll()
    cpu, began = time.process_time(), time.perf_counter()
    waiting = sum(send(client, left) for client in clients.values())
    for number in clients:
        poller.register(number, select.POLLIN)
    end = began + plan.seconds
    status, now = plan.status.encode(), began
    while waiting:
        ready = poller.poll(1)
        now = time.perf_counter()
        if now > end + PATIENCE:
            tally.errors += waiting
            break
        for number, _ in ready:
            client = clients[number]
            answer = client.read + (part := client.socket.recv(65536))
            if part and not is_whole(answer):
                client.read = answer
                continue
            client.read = b""
            tally.latencies.append((now - client.began) * 1000)
            tally.errors += not (answer[STATUS] == status and client.mark in answer)
            if not part or now >= end or not send(client, left):
                poller.unregister(number)
                waiting -= 1
    tally.cpu, tally.seconds = time.process_time() - cpu, now - began
    tally.answered = len(tally.latencies)
    for client in clients.values():
        client.socket.close()
    return tally


def send(client: Connection, left: Iterator[tuple[bytes, bytes]]) -> bool:
    """Sends the next request; False when there is none."""
    request, client.mark = next(left, (b"", b""))
    if not request:
        return False
    client.began = time.perf_counter()
    client.socket.sendall(request)
    return True


def main() -> None:
    """From stdin to stdout."""
    plan = Plan(**json.load(sys.stdin))
    gc.disable()
    json.dump(asdict(drive(plan)), sys.stdout)


if __name__ == "__main__":
    main()
