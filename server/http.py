"""HTTP as uvicorn speaks it with httptools, which is fast and lets some things through.

What the application would never see is refused here in the same form: what is no HTTP, a method
that HTTP does not have, a head without end. And a target is taken as it was sent.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from http import HTTPStatus
from typing import Any

import httptools
from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server import heads
from web.edge import EVERY_ANSWER
from web.head import lines
from web.operations import Operation
from web.refusals import PLAIN_JSON, HttpRefused, method_not_allowed, render
from web.shortcut import ASKED, CONNECTION, Shortcut

MAX_HEAD = 64 * 1024  # bytes from the first on until the headers end; the application takes 24 kB
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")  # of all paths together


class Done:
    """Awaited without waiting, as often as one likes."""

    def __await__(self) -> Generator[None, None, None]:
        """Nothing to wait for."""
        yield from ()


DONE = Done()
FIRST_LINE = b"HTTP/1.1 200 OK\r\n"


class Cycle(RequestResponseCycle):
    """One request and its answer, which is written as a whole if it comes in one piece.

    uvicorn writes head and body apart, and every write is a system call that wakes the client: a
    third of what HTTP costs a request. It also reads every header of ours for odd characters.
    """

    _head: Message | None = None  # of an answer, as long as nothing of it is written
    leave: Callable[[bytes], None]  # what takes a whole answer

    def send(self, message: Any) -> Awaitable[None]:  # type: ignore[override] # awaited all the same
        """Keeps the head until the first part of the body comes.

        Another head takes its place: uvicorn's own 500, where the application failed in between.
        """
        if not self.response_started and message["type"] == "http.response.start":
            self._head = message
            return DONE
        head, self._head = self._head, None
        if head and not message.get("more_body") and self._is_usual(head):
            self._write_whole(head["headers"], message.get("body", b""))
            return DONE
        return self._send_apart(head, message)

    async def _send_apart(self, head: Any, message: Any) -> None:
        """Sends as uvicorn does."""
        if head:
            await super().send(head)
        await super().send(message)

    def _is_usual(self, head: Message) -> bool:
        """Whether an answer in one piece needs nothing of uvicorn's; as most of them."""
        return (
            head["status"] == HTTPStatus.OK
            and self.scope["method"] == "POST"
            and self.keep_alive
            and not (self.disconnected or self.flow.write_paused)
            and (b"connection", b"close") not in head["headers"]
        )

    def _write_whole(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Writes an answer, and ends this request as uvicorn does after the last part of one."""
        told = lines((*self.default_headers, *headers))
        self.leave(b"%b%b\r\n%b" % (FIRST_LINE, told, body))
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()


class Short:
    """A request that goes the short way (web/shortcut.py), for uvicorn a cycle like any other."""

    keep_alive = True
    disconnected = False
    response_complete = False
    message_event = asyncio.Event()  # nobody waits for one

    def __init__(self, scope: Scope, body: bytes, operation: Operation) -> None:
        self.scope = scope
        self.body = body
        self.operation = operation


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_head = self._in_message = False
        self._begun = 0  # messages
        self._idle = 0  # bytes since the message began or its body went on, roughly
        self._idle_since = 0.0  # of the event loop's clock: when a known request was answered
        self._answer = b""  # that has not left
        self._connection: tuple[object, ...] = ()  # what answers depend on, beside a request
        self._short: tuple[Any, asyncio.Future[Any]] | None = None  # what it asked for

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._connection = self.app, self.client and self.client[0], self.scheme

    @property
    def _is_answered(self) -> bool:
        """Whether every request that came is."""
        last: RequestResponseCycle | None = self.cycle
        return last is None or last.response_complete

    def data_received(self, data: bytes) -> None:
        """Bounds what has no bound in httptools: a head, and what may stand behind a body."""
        self._send()
        was_in_message, begun = self._in_message, self._begun
        if not was_in_message and self._answer_known(data):
            return
        self._idle += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if was_in_message and self._in_message:
            if self._idle > MAX_HEAD:
                self._refuse(endless_head())
        elif self._begun == begun + 1 and not (was_in_message or self._in_message):
            heads.keep(data, self.scope)

    def _answer_known(self, data: bytes) -> bool:
        """Answers a request whose head was read before, if this is one, whole and alone."""
        if not self._is_answered:
            return False  # it waits for its turn
        known = heads.find(data)
        if known is None:
            return False
        scope, body = known
        scope["server"], scope["client"], scope["scheme"] = self.server, self.client, self.scheme
        scope["state"] = self.app_state.copy()
        scope[CONNECTION] = self._connection
        self.scope = scope
        shortcut: Shortcut | None = scope["head"].shortcut
        operation = shortcut and shortcut.operation(self._connection, body)
        if shortcut and operation:
            self._take(shortcut, Short(scope, body, operation))
        else:
            self.cycle = self._begin(scope, body)
        return True

    def _take(self, shortcut: Shortcut, request: Any) -> None:
        """Answers a request (a Short) by a shortcut, as far as that leads."""
        asked = shortcut.ask(request.operation)
        self.cycle, self._short = request, (request, asked)

        def go_on(asked: asyncio.Future[Any]) -> None:
            if not self._short or self._short[0] is not request:
                return  # it goes the long way
            is_usual = not (request.disconnected or self.flow.write_paused) and request.keep_alive
            answer = is_usual and shortcut.answer(request.operation, asked, request.scope)
            if not answer:
                self.take_long_way()
                return
            self._short = None
            self._leave(FIRST_LINE + lines(self.server_state.default_headers) + answer)
            request.response_complete = True
            self._answered()

        asked.add_done_callback(go_on, context=copy_context())  # what it logs names its request

    def take_long_way(self) -> None:
        """Has a request that is on the short way answered by a task, which can be cancelled."""
        if not self._short:
            return
        (request, asked), self._short = self._short, None
        request.scope["head"].shortcut = None  # it did not lead there; perhaps the next one does
        request.scope[ASKED] = asked
        cycle = self._begin(request.scope, request.body)
        cycle.keep_alive, cycle.disconnected = request.keep_alive, request.disconnected
        if self.cycle is request:  # or else another request waits behind it
            self.cycle = cycle

    def _begin(self, scope: Any, body: bytes) -> Cycle:
        """Begins a request, whose body is there, as uvicorn does after a head."""
        cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self._answered,
        )
        cycle.body += body
        cycle.more_body = False
        cycle.message_event.set()
        self._start_asgi_task(cycle, self.app)
        return cycle

    def _leave(self, answer: bytes) -> None:
        """Sends an answer with the next turn of the event loop.

        To send wakes whoever waits for it, which costs more than to send. The answers to one
        statement's look-ups are all worked out in one turn; sent one right after the other, they
        wake a proxy, or another client with many connections, once: 6 µs a request.
        """
        self._answer = answer
        self.loop.call_soon(self._send)

    def _send(self) -> None:
        """Sends what has not left. Whatever else happens on the connection comes after it."""
        if self._answer:
            answer, self._answer = self._answer, b""
            if not self.transport.is_closing():
                self.transport.write(answer)

    def handle_websocket_upgrade(self) -> None:
        """Goes over to frames, once every request before is answered."""
        if self._is_answered:
            super().handle_websocket_upgrade()
        else:
            self._refuse(early_upgrade())

    def eof_received(self) -> None:
        """The client sends nothing more."""
        self._send()
        super().eof_received()

    def shutdown(self) -> None:
        """The connection ends as soon as nothing is under way on it."""
        self._send()
        super().shutdown()

    def _answered(self) -> None:
        """Ends a request as uvicorn does, but for the clock that closes an idle connection.

        It is looked at when it rings: to set it anew for each request costs 1.5 to 2.5 µs.
        """
        if self.pipeline or self.timeout_keep_alive_task is None:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Closes the connection if it was idle for so long; else looks again when it may be."""
        if self.transport.is_closing():
            return  # it was reset, and what was asked on it is answered to nobody
        is_idle = self._is_answered
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if is_idle and rest <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                rest if is_idle else self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = self._in_message = True
        self._begun += 1
        self._idle = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. Those behind a body are no part of it (RFC 9110 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request's head is there. Its path is what was asked for, never a part of that."""
        self._in_head = False
        if not self.url.startswith(b"/"):
            self.url = b"/" + self.url
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self._idle = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        self._in_message = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Answers a request."""
        cycle.__class__ = Cycle  # uvicorn has no way to say which
        cycle.leave = self._leave
        super()._start_asgi_task(cycle, app)

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
        first_line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        self.transport.write(b"%b%b\r\n%b" % (first_line, lines(headers), bytes(answer.body)))
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


def early_upgrade() -> HttpRefused:
    """400 for frames that would come between answers."""
    return HttpRefused(
        400,
        "BAD_REQUEST",
        "This upgrade came before the request in front of it was answered.",
        "Wait for every answer before you ask for an upgrade",
    )


def endless_head() -> HttpRefused:
    """431 for headers that nobody waits for any longer."""
    return HttpRefused(
        431,
        "BAD_REQUEST",
        f"The headers have more than {MAX_HEAD} bytes.",
        "Send fewer and shorter ones",
    )
