"""A client that knows nothing of HTTP but bytes."""

import json
import socket
from itertools import count
from typing import Any

NUMBERS = count()


class Peer:
    """A client that writes bytes and reads answers."""

    def __init__(self, url: str, address: str = "") -> None:
        """address: from where, if that matters."""
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), 30, (address, 0))
        self._rest = b""

    def send(self, *parts: bytes) -> tuple[int, Any]:
        """Sends a request, each part in a packet of its own; the answer's status and JSON."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            self.socket.sendall(part)
        return self.answer()

    def answer(self) -> tuple[int, Any]:
        """The next answer."""
        status, _, body = self.whole()
        return status, body

    def whole(self) -> tuple[int, dict[bytes, bytes], Any]:
        """The next answer's status, headers and JSON."""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._more()
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(headers[b"content-length"])
        while len(self._rest) < length:
            self._rest += self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return int(head.split()[1]), headers, json.loads(body)

    def _more(self) -> bytes:
        more = self.socket.recv(65536)
        assert more, "the server ended the connection"
        return more


def request(body: bytes, *fields: bytes, line: bytes = b"POST /graphql HTTP/1.1") -> bytes:
    """A request whose head nobody has sent before."""
    own = b"X-Own: %d" % next(NUMBERS)
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([line, b"Host: a.example", own, length, *fields, b"", body])
