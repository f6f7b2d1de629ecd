"""The outermost layers of the application, the same for every path.

Edge: a request's id, the headers that every answer carries, what is under way.
Rescue: whatever was raised becomes an answer; a bug becomes 500 and tells nothing of itself.
"""

import asyncio
import re
from collections.abc import Awaitable
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth.errors import Refused, StoreUnavailable
from web.departure import Departure
from web.failures import LastResort
from web.head import BODY, Head, head_of
from web.log_context import begin
from web.refusals import (
    GRAPHQL_JSON,
    PLAIN_JSON,
    HttpRefused,
    as_refused,
    method_not_allowed,
    render,
)
from web.shortcut import SHORTCUT

MAX_TARGET = 8 * 1024  # bytes of path and query string
MAX_HEADERS = 16 * 1024  # bytes of all of them
MAX_HEADER_COUNT = 100

Headers = list[tuple[bytes, bytes]]

NO_LENGTH = (b"0",)
OF_JSON = {b"content-type", b"content-length"}
# What an answer carries unless it says otherwise itself, as pages do of their policy.
EVERY_ANSWER = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
OVER_TLS = [
    *EVERY_ANSWER,
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
]
# The request's headers that an answer depends on, of GraphQL or not.
DEPENDS_ON = {True: (b"vary", b"Accept, Origin"), False: (b"vary", b"Origin")}
NAME = itemgetter(0)  # of a header
CLOSE = {"Connection": "close"}
SOUND = "bigtwo.head_is_sound"  # in the scope, where it is known
STARTED = "bigtwo.answer_has_started"  # in the scope

# RFC 9110 7.2: a name or an address, and perhaps a port.
HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]*)?")


class Edge:
    """Gives every request an id and every answer its headers."""

    def __init__(self, app: ASGIApp, departure: Departure) -> None:
        self._app = app
        self._departure = departure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes HTTP on; there is nothing else yet."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = begin(scope)
        body = Unread(receive) if BODY not in scope and has_body(head_of(scope)) else None

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                scope[STARTED] = True
                headers = message["headers"] = list(message.get("headers", ()))
                add(headers, scope)
                if SHORTCUT in scope:
                    scope[SHORTCUT].lay(head_of(scope), headers)
                headers.append((b"x-request-id", request_id.encode()))
                # Unread: the server would read on, for nobody and without end.
                if (body and body.goes_on) or self._departure.has_begun:
                    headers.append((b"connection", b"close"))
            return send(message)

        self._departure.requests += 1
        try:
            await self._app(scope, body.receive if body else receive, send_with_headers)
        finally:
            self._departure.requests -= 1


class Unread:
    """A request's body, of which more may come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.goes_on = True

    async def receive(self) -> Message:
        """The next part."""
        message = await self._receive()
        self.goes_on = self.goes_on and bool(message.get("more_body", False))
        return message


def headers_for(scope: Scope) -> Headers:
    """The headers of whatever is answered to a request."""
    return OVER_TLS if scope["scheme"] in {"https", "wss"} else EVERY_ANSWER


def add(headers: Headers, scope: Scope) -> None:
    """Adds what an answer does not say itself, and tells caches what it depends on."""
    more, depends_on = headers_for(scope), DEPENDS_ON[scope["path"] == "/graphql"]
    if OF_JSON.issuperset(map(NAME, headers)):  # as nearly all: nothing to compare
        headers += more
        headers.append(depends_on)
        return
    given = set(map(NAME, headers))
    headers += [header for header in more if header[0] not in given]
    vary(headers, depends_on)


def vary(headers: Headers, ours: tuple[bytes, bytes]) -> None:
    """Adds to what an answer says itself that it depends on."""
    if b"vary" not in map(NAME, headers):
        headers.append(ours)
        return
    told = MutableHeaders(raw=headers)
    for name in ours[1].decode().split(", "):
        told.add_vary_header(name)


def has_body(head: Head) -> bool:
    """Whether a request says that a body follows (RFC 9112 6)."""
    length = head.get(b"content-length", NO_LENGTH)
    return b"transfer-encoding" in head or length[0].strip(b"0") != b""


class Rescue:
    """Turns whatever is raised inside into an answer."""

    def __init__(self, app: ASGIApp, departure: Departure) -> None:
        self._app = app
        self._departure = departure
        self._last_resort = LastResort()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and answers where an exception comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if SOUND not in scope:
                refuse_unsound(scope)
            await self._app(scope, receive, send)
        except asyncio.CancelledError:  # the process ends, and this took too long
            if STARTED in scope or not self._departure.has_begun:
                raise
            await self._answer(StoreUnavailable(), scope, receive, send)
        except Exception as error:  # the last resort
            told = as_refused(error) or from_router(error)
            refused = self._last_resort.refusal(error, told)
            if STARTED in scope:
                raise
            await self._answer(refused, scope, receive, send)

    async def _answer(self, refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        media_type = GRAPHQL_JSON if scope["path"] == "/graphql" else PLAIN_JSON
        await render(refused, media_type)(scope, receive, send)


def refuse_unsound(scope: Scope) -> None:
    """Raises HttpRefused for a head that is not looked at any further."""
    refuse_oversized(scope)
    refuse_odd_host(scope)
    refuse_odd_length(scope)


def refuse_oversized(scope: Scope) -> None:
    """Raises HttpRefused 414 or 431, before anything is looked at."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
        raise HttpRefused(
            414,
            "BAD_REQUEST",
            f"The URL has more than {MAX_TARGET} bytes.",
            "Send it by POST",
            headers=CLOSE,
        )
    size = sum(map(len, chain.from_iterable(scope["headers"])))
    if size > MAX_HEADERS or len(scope["headers"]) > MAX_HEADER_COUNT:
        raise HttpRefused(
            431,
            "BAD_REQUEST",
            f"There are more than {MAX_HEADER_COUNT} headers, or {MAX_HEADERS} bytes of them.",
            "Send fewer and shorter ones",
            headers=CLOSE,
        )


def refuse_odd_host(scope: Scope) -> None:
    """Raises HttpRefused 400 unless the request names one host (RFC 9112 3.2; HTTP/1.0 need not).

    We believe no Host, but a proxy before us may, and two readers must not read two things.
    """
    hosts = head_of(scope).get(b"host", ())
    none_needed = not hosts and scope["http_version"] == "1.0"
    if not none_needed and not (len(hosts) == 1 and is_host(hosts[0])):
        raise HttpRefused(
            400,
            "BAD_REQUEST",
            "The Host header names no host.",
            "Send one Host header, with this server's name or address",
            headers=CLOSE,
        )


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Whether a Host header's value names one."""
    return HOST.fullmatch(value) is not None


def refuse_odd_length(scope: Scope) -> None:
    """Raises HttpRefused 400 for a body whose end is told in two ways, or in none of ours.

    RFC 9112 6.1: whoever reads on in another place than we do is told another request.
    """
    head = head_of(scope)
    coding = head.get(b"transfer-encoding")
    if coding and (b"content-length" in head or [c.lower() for c in coding] != [b"chunked"]):
        raise HttpRefused(
            400,
            "BAD_REQUEST",
            "The body's end is told in two ways, or by a Transfer-Encoding that is not chunked.",
            "Send Content-Length, or Transfer-Encoding: chunked",
            headers=CLOSE,
        )


def from_router(error: Exception) -> HttpRefused | None:
    """Starlette's own 404 and 405, in our form."""
    if not isinstance(error, HTTPException):
        return None
    if error.status_code == 405 and error.headers:  # noqa: PLR2004 - the status itself
        return method_not_allowed(*error.headers["Allow"].split(", "))
    return HttpRefused(
        error.status_code, "BAD_REQUEST", "There is nothing here.", "GraphQL is at /graphql"
    )
