"""GraphQL over server-sent events: graphql-sse, distinct connections mode.

Door, media types and the body's form come first, as plain HTTP. Then everything is told in events:
`next` for each result, `complete` at the end. A stream that ends without `complete` was cut, and
its client comes back. https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio
from contextlib import suppress
from contextvars import copy_context

from graphql import OperationType
from starlette.types import Receive, Scope, Send

from auth.errors import RateLimited, Unauthenticated
from auth.viewer import Viewer
from context import Context, Origin, Services, judge
from db.sessions import Key, OwnedSession
from live.connections import RETRY_AFTER
from live.held import Feed, Held, SlowReaderError
from web.operations import Operation, Operations, payload_of
from web.refusals import HttpRefused, encode, errors_of
from web.told import note_latency, note_passing, refusal_of, write_refusal

EVENT_STREAM = "text/event-stream"
HEARTBEAT = 12.0  # seconds between lines that only show that both ends are there
FAREWELL = 0.3  # seconds for the last event
STALL = 10.0  # seconds that one event may wait for its reader
ANSWER_FIRST = 0.5  # seconds for the mutation that ended the session to be answered
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back
]


class EventStream:
    """The answer to one operation, as an ASGI application."""

    def __init__(
        self,
        services: Services,
        operations: Operations,
        prepared: Operation | HttpRefused,
        viewer: Viewer | None,
        origin: Origin,
    ) -> None:
        self._services = services
        self._live = services.live
        self._operations = operations
        self._prepared = prepared
        self._viewer = viewer
        self._origin = origin
        self._over = asyncio.Event()  # left, cut or refused
        self._refusal: Unauthenticated | None = None
        self._is_complete = False
        self._is_silent = False
        self._feed: Feed | None = None
        self._context = copy_context()  # of the log's lines, whoever writes them
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers. Raises RateLimited before anything was sent."""
        del scope
        self._send = send
        held = self._hold()
        try:
            with self._live.room_for(self._origin.network), self._live.opened(self):
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                await self._stream(held, receive)
        finally:
            if held:
                self._live.watch.remove(held)

    async def leave(self) -> None:
        """Cuts it because of a restart: its client comes back."""
        self._over.set()

    # Its session

    def _hold(self) -> Held | None:
        """Watches the session's row, and looks at once: it may have ended since the door."""
        if self._viewer is None:
            return None
        key = Key(self._viewer.user_id, self._viewer.session_id)
        if self._live.is_full(key):
            raise RateLimited(RETRY_AFTER)
        held = Held(key, self._on_gone, self._over.set)
        self._live.watch.add(held)
        self._live.watch.told({key.user_id})
        return held

    def _on_gone(self, row: OwnedSession | None) -> None:
        try:
            judge(row)
        except Unauthenticated as refused:
            if self._refusal is None:
                self._context.run(write_refusal, refused, refused)
                self._refusal = refused
                if self._feed:
                    self._feed.close()  # what was seen together with the end is not told any more
                self._over.set()

    # Its events

    async def _stream(self, held: Held | None, receive: Receive) -> None:
        """Sends events until the operation, its session, its client or we end it."""
        prepared = self._prepared
        kind = prepared.kind if isinstance(prepared, Operation) else None
        if held and kind is OperationType.SUBSCRIPTION:
            self._feed = self._live.watch.feed(held)
        telling = self._live.start(self._tell(self._feed))
        beside = [asyncio.create_task(work) for work in (self._beat(), self._until_left(receive))]
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait({telling, over}, return_when=asyncio.FIRST_COMPLETED)
        if self._refusal and kind is OperationType.MUTATION:
            await asyncio.wait({telling}, timeout=ANSWER_FIRST)
        for task in (*beside, over):
            task.cancel()
        if self._feed:
            self._feed.close()
        await self._end(self._refusal if not self._is_complete else None)

    async def _tell(self, feed: Feed | None) -> None:
        """All that the operation answers, then its end."""

        def make_context() -> Context:
            return Context(self._services, self._viewer, self._origin, feed)

        try:
            if isinstance(self._prepared, HttpRefused):
                raise self._prepared
            async for result in self._operations.results(self._prepared, make_context):
                note_passing(result)
                await self._say("next", payload_of(result))
        except SlowReaderError:
            self._over.set()
        except Exception as error:  # noqa: BLE001 - the last resort
            await self._say("next", {"errors": errors_of(refusal_of(error))})
        await self._say("complete")

    async def _say(self, event: str, data: object = None) -> None:
        """Sends an event; cuts off a reader that does not take it in time."""
        may_finish = self._refusal and not self._feed  # the mutation that ended the session
        if self._is_silent or (self._over.is_set() and not may_finish):
            return
        self._is_complete = event == "complete"
        try:
            async with asyncio.timeout(STALL):
                await self._write(b"event: %b\ndata: %b\n\n" % (event.encode(), encoded(data)))
        except (TimeoutError, OSError):
            self._over.set()

    async def _end(self, refused: Unauthenticated | None) -> None:
        """The stream's end; the reason first, where its session has ended."""
        last = b""
        self._is_silent = True
        if refused:
            errors = encoded({"errors": errors_of(refused)})
            last = b"event: next\ndata: %b\n\nevent: complete\ndata: \n\n" % errors
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL):
                await self._write(last, more=False)
        if refused:
            note_latency(self._services, refused)

    async def _beat(self) -> None:
        """Comments, for ever: proxies cut what is silent, and the client sees that we are there."""
        while True:
            with suppress(OSError):
                await self._write(b":\n\n")
            await asyncio.sleep(HEARTBEAT)

    async def _until_left(self, receive: Receive) -> None:
        """Waits until the client has left."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._over.set()

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def encoded(data: object) -> bytes:
    """The data of an event: one line."""
    return b"" if data is None else encode(data)
