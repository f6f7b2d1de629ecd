"""GraphQL over WebSockets: graphql-transport-ws, with a door at each operation.

A socket lives as long as the session that opened it. When that ends, what is under way gets an
error and the socket closes with 4401; but the operation that ended it is answered first, for it may
carry the new token.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass

from graphql import OperationType
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from auth.errors import CrossOrigin, Refused, StoreUnavailable, Unauthenticated
from auth.viewer import Viewer
from context import Context, Services, admit, bearer, judge
from db.engine import Unavailable
from db.sessions import Key, OwnedSession
from live.held import Feed, Held, SlowReaderError
from web import frames
from web.caller import origin_of
from web.frames import Close, Complete, Init, Ping, Subscribe
from web.head import head_of
from web.operations import GraphQLRequest, Operation, Operations, is_empty, payload_of
from web.refusals import HttpRefused, errors_of
from web.rest import is_same
from web.told import note_latency, note_passing, refusal_of, write_refusal

INIT_TIMEOUT = 10.0  # seconds for connection_init to come
STALL = 10.0  # seconds that one frame may wait for its reader
MAX_OPERATIONS = 100  # of one socket at once
ANSWER_FIRST = 0.5  # seconds for the mutation that ended the session to be answered
FAREWELL = 0.3  # seconds for the errors before the close


class GoneError(Exception):
    """The client has left."""


class SocketEndpoint:
    """The ASGI application at /graphql, for upgrades."""

    def __init__(
        self, services: Services, operations: Operations, allowed_origins: tuple[str, ...]
    ) -> None:
        self._services = services
        self._operations = operations
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection. Raises Refused where it is not even opened."""
        refuse_foreign(Headers(scope=scope), self._allowed_origins)
        socket = Socket(self._services, self._operations, scope, receive, send)
        live = self._services.live
        with live.room_for(socket.origin.network), live.opened(socket):
            await socket.run()


def refuse_foreign(headers: Headers, allowed: tuple[str, ...]) -> None:
    """Raises CrossOrigin for a page of an origin that is neither ours nor listed.

    Browsers ask nobody before they open a WebSocket. Who sends no Origin is none.
    """
    origins = headers.getlist("origin")
    if len(origins) > 1:
        raise CrossOrigin
    for origin in origins:
        if origin not in allowed and not is_same(origin, headers.get("host", "")):
            raise CrossOrigin


@dataclass(eq=False)
class Running:
    """An operation under way."""

    id: str
    kind: OperationType | None  # none: what was sent is no operation
    feed: Feed | None
    is_silent: bool = False  # the client has its answer, or wants none
    task: "asyncio.Task[None] | None" = None


class Socket:
    """One connection, from its upgrade to its close."""

    def __init__(
        self,
        services: Services,
        operations: Operations,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.origin = origin_of(scope, services.policy.address_detail)
        self._services = services
        self._live = services.live
        self._operations = operations
        self._offered: list[str] = scope["subprotocols"]
        self._authorization = head_of(scope).authorization
        self._receive = receive
        self._send = send
        self._credential: tuple[bytes, ...] = ()
        self._held: Held | None = None
        self._running: set[Running] = set()
        self._by_id: dict[str, Running] = {}
        self._refusal: Unauthenticated | None = None  # why it is being closed
        self._is_closed = False
        self._context = copy_context()  # of the log's lines, whoever writes them

    async def run(self) -> None:
        """Serves it to the end."""
        try:
            await self._open()
            await self._authenticate(await self._wait_for_init())
            while True:
                await self._take(await self._next())
        except Close as close:
            await self._close(close.code, close.reason)
        except (GoneError, OSError):  # uvicorn's word for a client that has left
            self._is_closed = True
        finally:
            self._let_go()

    async def leave(self) -> None:
        """Closes it because of a restart: its client comes back."""
        await self._close(1012, "Restarting: come back.")

    # The beginning

    async def _open(self) -> None:
        await self._receive()  # websocket.connect
        speaks = frames.PROTOCOL in self._offered
        # A browser shows the code of a close only if one of its own protocols was taken up.
        chosen = frames.PROTOCOL if speaks else next(iter(self._offered), None)
        await self._send({"type": "websocket.accept", "subprotocol": chosen})
        if not speaks:
            raise Close(4406, f"Subprotocol not acceptable: use {frames.PROTOCOL}.")

    async def _wait_for_init(self) -> Init:
        try:
            async with asyncio.timeout(INIT_TIMEOUT):
                while True:
                    match message := await self._next():
                        case Init():
                            return message
                        case Subscribe():
                            raise Close(4401, "Unauthorized: send connection_init first.")
                        case Ping(payload):
                            await self._say(frames.pong_of(payload))
        except TimeoutError:
            raise Close(4408, "Connection initialisation timeout.") from None

    async def _authenticate(self, init: Init) -> None:
        given = self._authorization + init.authorization
        try:
            token = bearer(given)
        except Refused:
            raise Close(4400, "Malformed: send one credential, Bearer and a token.") from None
        if token is not None:
            self._credential = given
            try:
                viewer = await self._door()
            except Unauthenticated as refused:
                write_refusal(refused, refused)
                raise Close(4401, reason_of(refused)) from None
            except Unavailable as error:
                write_refusal(StoreUnavailable(), error)
                raise Close(1013, "Come back: the session store cannot answer.") from None
            if viewer is not None:
                self._hold(Key(viewer.user_id, viewer.session_id))
        await self._say(frames.ACK)

    async def _door(self) -> Viewer | None:
        return await admit(self._services, self._credential, address=self.origin.address)

    def _hold(self, key: Key) -> None:
        """Watches the session's row from now on, and looks at once: it may have ended meanwhile."""
        if self._live.is_full(key):
            raise Close(1008, "Too many sockets of this session.")
        self._held = Held(key, self._on_gone, self._on_lost)
        self._live.watch.add(self._held)
        self._live.watch.told({key.user_id})

    # Messages

    async def _next(self) -> frames.Message:
        """The client's next message. Raises Close, GoneError."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise GoneError
        return frames.read(message.get("text"))

    async def _take(self, message: frames.Message) -> None:
        match message:
            case Init():
                raise Close(4429, "Too many initialisation requests.")
            case Ping(payload):
                await self._say(frames.pong_of(payload))
            case Subscribe(id, sent):
                await self._subscribe(id, sent)
            case Complete(id):
                if running := self._by_id.pop(id, None):
                    silence(running)

    async def _subscribe(self, op_id: str, sent: GraphQLRequest) -> None:
        if self._refusal or self._is_closed:  # it came before the client could know
            return
        if op_id in self._by_id:
            raise Close(4409, "A subscriber of this id exists already.")
        if len(self._running) >= MAX_OPERATIONS:
            await self._say(frames.error_of(op_id, errors_of(too_many())))
            return
        prepared = self._operations.try_prepare(sent)
        kind = prepared.kind if isinstance(prepared, Operation) else None
        earlier = [r.feed for r in self._running if r.feed]
        running = Running(op_id, kind, self._feed() if kind is OperationType.SUBSCRIPTION else None)
        self._running.add(running)
        self._by_id[op_id] = running
        running.task = self._live.start(self._operate(running, prepared, earlier))

    def _feed(self) -> Feed | None:
        return self._live.watch.feed(self._held) if self._held else None

    # Operations

    async def _operate(
        self, running: Running, prepared: Operation | HttpRefused, earlier: Sequence[Feed]
    ) -> None:
        """Answers an operation: the door first, whatever was sent.

        It begins when the subscriptions before it on this socket know what was before them, so that
        a list read now and their events leave no gap.
        """
        try:
            with self._counted(running):
                viewer = await self._admit()
                if isinstance(prepared, HttpRefused):
                    raise prepared
                await self._wait_for([*earlier, *([running.feed] if running.feed else [])])
                await self._answer(running, prepared, viewer)
        except SlowReaderError:
            await self._close(1013, "Come back: too slow a reader.")
        except Exception as error:  # noqa: BLE001 - the last resort
            await self._fail(running, errors_of(refusal_of(error)))
        finally:
            if running.feed:
                running.feed.close()
            self._running.discard(running)

    @contextmanager
    def _counted(self, running: Running) -> Iterator[None]:
        """Counts what a restart waits for: everything that ends by itself."""
        ends = running.kind is not OperationType.SUBSCRIPTION
        self._live.busy += ends
        try:
            yield
        finally:
            self._live.busy -= ends

    async def _admit(self) -> Viewer | None:
        """The door of an operation; a session that has ended takes the whole socket along."""
        try:
            return await self._door()
        except Unauthenticated as refused:
            self._end(refused)
            raise

    async def _wait_for(self, feeds: Sequence[Feed]) -> None:
        """Waits until feeds know what was before them. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._services.database.timeout):
                for feed in feeds:
                    await feed.ready.wait()
        except TimeoutError:
            raise Unavailable("nobody has looked at the rows") from None

    async def _answer(self, running: Running, operation: Operation, viewer: Viewer | None) -> None:
        def make_context() -> Context:
            return Context(self._services, viewer, self.origin, running.feed)

        async for result in self._operations.results(operation, make_context):
            if is_empty(result):
                note_passing(result)
                await self._fail(running, payload_of(result)["errors"])
                return
            if not (running.is_silent or self._is_over_for(running)):
                await self._say(frames.next_of(running.id, payload_of(result)))
        if not self._is_over_for(running):
            await self._conclude(running, frames.complete_of(running.id))

    def _is_over_for(self, running: Running) -> bool:
        """Whether its end is the session's: an event that was being made ready is told no more."""
        return self._refusal is not None and running.feed is not None

    async def _fail(self, running: Running, errors: object) -> None:
        await self._conclude(running, frames.error_of(running.id, errors))

    async def _conclude(self, running: Running, last: str) -> None:
        """Says an operation's last word; its id is free from then on."""
        if running.is_silent:
            return
        running.is_silent = True
        if self._by_id.get(running.id) is running:
            del self._by_id[running.id]
        await self._say(last)

    # The end

    def _on_gone(self, row: OwnedSession | None) -> None:
        """The watch has seen that the row lets nobody in any more."""
        try:
            judge(row)
        except Unauthenticated as refused:
            self._end(refused)

    def _on_lost(self) -> None:
        if not self._is_closed:
            self._live.start(self._close(1013, "Come back: the session store cannot answer."))

    def _end(self, refused: Unauthenticated) -> None:
        """The session has ended: nothing more is begun, and no event is told."""
        if self._refusal or self._is_closed:
            return
        self._refusal = refused
        self._context.run(write_refusal, refused, refused)
        for running in self._running:
            if running.feed:
                running.feed.close()
        self._live.start(self._finish(refused))

    async def _finish(self, refused: Unauthenticated) -> None:
        """The mutation that did it is answered, then everything else gets the error."""
        mutations = [r.task for r in self._running if r.kind is OperationType.MUTATION and r.task]
        if mutations:
            await asyncio.wait(mutations, timeout=ANSWER_FIRST)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                for running in list(self._by_id.values()):
                    await self._fail(running, errors_of(refused))
        await self._close(4401, reason_of(refused))
        note_latency(self._services, refused)

    def _let_go(self) -> None:
        """The connection is over; what was begun is done to its end, for nobody."""
        if self._held:
            self._live.watch.remove(self._held)
        for running in self._running:
            silence(running)

    # Frames

    async def _say(self, frame: str) -> None:
        """Sends a frame; drops a reader that does not take it in time."""
        if self._is_closed:
            return
        try:
            async with asyncio.timeout(STALL):
                await self._send({"type": "websocket.send", "text": frame})
        except TimeoutError:
            await self._close(1013, "Come back: too slow a reader.")
        except OSError:
            self._is_closed = True

    async def _close(self, code: int, reason: str) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(OSError):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


def silence(running: Running) -> None:
    """The client wants no more of it."""
    running.is_silent = True
    if running.feed:
        running.feed.close()


def too_many() -> HttpRefused:
    """429 for one operation too many."""
    return HttpRefused(
        429,
        "RATE_LIMITED",
        f"There are {MAX_OPERATIONS} operations under way on this socket.",
        "Complete some of them first",
    )


def reason_of(refused: Unauthenticated) -> str:
    """Why a socket is closed, in the words of the contract."""
    return " ".join(filter(None, (refused.reason, refused.revoked_reason)))
