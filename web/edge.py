"""The outermost layers of the application, the same for every path.

Edge: a request's id, the headers that every answer carries, what is under way.
Rescue: whatever was raised becomes an answer; a bug becomes 500 and tells nothing of itself.
"""

import asyncio
import re
from typing import NoReturn
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth.errors import Refused, StoreUnavailable
from web.bounded import Bounded
from web.caller import masked
from web.departure import Departure
from web.failures import where
from web.refusals import (
    GRAPHQL_JSON,
    PLAIN_JSON,
    HttpRefused,
    as_refused,
    internal_error,
    method_not_allowed,
    render,
    write_down,
)

MAX_TARGET = 8 * 1024  # bytes of path and query string
MAX_HEADERS = 16 * 1024  # bytes of all of them
MAX_HEADER_COUNT = 100

EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOT_HTML = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
OVER_TLS = {"Strict-Transport-Security": "max-age=63072000; includeSubDomains"}
CLOSE = {"Connection": "close"}

# RFC 9110 7.2: a name or an address, and perhaps a port.
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]*)?")

log = structlog.get_logger()


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
        request_id = uuid4().hex
        unread = has_body(Headers(scope=scope))

        async def receive_and_note() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body", False))
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in headers_for(scope).items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = request_id
                if scope["path"] == "/graphql":
                    headers.add_vary_header("Accept")
                # Unread: the server would read on, for nobody and without end.
                if unread or self._departure.has_begun:
                    headers["Connection"] = "close"
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id, address=masked(scope))
        with self._departure.request():
            await self._app(scope, receive_and_note, send_with_headers)


def headers_for(scope: Scope) -> dict[str, str]:
    """The headers of whatever is answered to a request."""
    over_tls = OVER_TLS if scope["scheme"] == "https" else {}
    return EVERY_ANSWER | NOT_HTML | over_tls


def has_body(headers: Headers) -> bool:
    """Whether a request says that a body follows (RFC 9112 6)."""
    return "transfer-encoding" in headers or headers.get("content-length", "").strip("0") != ""


class Rescue:
    """Turns whatever is raised inside into an answer."""

    def __init__(self, app: ASGIApp, departure: Departure) -> None:
        self._app = app
        self._departure = departure
        self._refusals = Bounded("refusals_not_logged")
        self._failures = Bounded("failures_not_logged")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and answers where an exception comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            refuse_oversized(scope)
            refuse_odd_host(scope)
            refuse_two_lengths(scope)
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:  # the process ends, and this took too long
            if started or not self._departure.has_begun:
                raise
            await self._answer(StoreUnavailable(), scope, receive, send)
        except Exception as error:  # the last resort
            refused = self._refusal(error)
            if started:
                raise
            await self._answer(refused, scope, receive, send)

    async def _answer(self, refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        media_type = GRAPHQL_JSON if scope["path"] == "/graphql" else PLAIN_JSON
        await render(refused, media_type)(scope, receive, send)

    def _refusal(self, error: Exception) -> Refused:
        refused = as_refused(error) or from_router(error)
        if refused:
            if self._refusals.admits_one():
                write_down(refused, error)
            return refused
        if self._failures.admits_one():
            log.error("request_failed", **where(error))
        return internal_error()


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
    size = sum(len(name) + len(value) for name, value in scope["headers"])
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
    hosts = Headers(scope=scope).getlist("host")
    none_needed = not hosts and scope["http_version"] == "1.0"
    if not none_needed and not (len(hosts) == 1 and HOST.fullmatch(hosts[0])):
        raise HttpRefused(
            400,
            "BAD_REQUEST",
            "The Host header names no host.",
            "Send one Host header, with this server's name or address",
            headers=CLOSE,
        )


def refuse_two_lengths(scope: Scope) -> None:
    """Raises HttpRefused 400 for a body whose end is told in two ways (RFC 9112 6.1)."""
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers and "content-length" in headers:
        raise HttpRefused(
            400,
            "BAD_REQUEST",
            "There are both Content-Length and Transfer-Encoding.",
            "Send one of the two",
            headers=CLOSE,
        )


async def to_rescue(request: Request, error: Exception) -> NoReturn:
    """Starlette's handler for its own 404 and 405: leaves them to Rescue, which has our form."""
    del request
    raise error


def from_router(error: Exception) -> HttpRefused | None:
    """Starlette's own 404 and 405, in our form."""
    if not isinstance(error, HTTPException):
        return None
    if error.status_code == 405 and error.headers:  # noqa: PLR2004 - the status itself
        return method_not_allowed(*error.headers["Allow"].split(", "))
    return HttpRefused(
        error.status_code, "BAD_REQUEST", "There is nothing here.", "GraphQL is at /graphql"
    )
