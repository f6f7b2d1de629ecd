"""HTTP as uvicorn speaks it with httptools, which is fast and lets some things through.

What the application would never see is refused here in the same form: what is no HTTP, a method
that HTTP does not have, a head without end. And a target is taken as it was sent.
"""

import asyncio
import sys
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from web.edge import EVERY_ANSWER
from web.refusals import PLAIN_JSON, HttpRefused, method_not_allowed, render

MAX_HEAD = 64 * 1024  # bytes from the first on until the headers end; the application takes 24 kB
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")  # of all paths together


class OneWrite:
    """A transport that writes once what is written in one turn of the event loop.

    uvicorn writes head and body apart, and every write is a system call that wakes the client.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes soon."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Closes, once all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_head = False
        self._head = 0  # bytes of it so far, except of those that came with something else

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self.transport = cast("Any", OneWrite(transport, self.loop))

    def data_received(self, data: bytes) -> None:
        """Bounds what has no bound in httptools."""
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self._refuse(endless_head())

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is there. Its path is what was asked for, never a part of that."""
        self._in_head = False
        if not self.url.startswith(b"/"):
            self.url = b"/" + self.url
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what httptools is about to raise, which uvicorn handles with this call."""
        del msg
        unknown = isinstance(sys.exception(), httptools.HttpParserInvalidMethodError)
        self._refuse(method_not_allowed(*METHODS) if unknown else no_http())

    def _refuse(self, refused: HttpRefused) -> None:
        """Answers, and ends the connection: where the next request begins nobody knows."""
        answer = render(refused, PLAIN_JSON)
        headers = [*answer.raw_headers, *EVERY_ANSWER, (b"connection", b"close")]
        status = HTTPStatus(refused.status)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()


def no_http() -> HttpRefused:
    """400 for what cannot be read."""
    return HttpRefused(
        400,
        "BAD_REQUEST",
        "This is no HTTP/1.1 request, or its end is told by both Content-Length and"
        " Transfer-Encoding.",
        "Send well-formed HTTP",
    )


def endless_head() -> HttpRefused:
    """431 for headers that nobody waits for any longer."""
    return HttpRefused(
        431,
        "BAD_REQUEST",
        f"The headers have more than {MAX_HEAD} bytes.",
        "Send fewer and shorter ones",
    )
