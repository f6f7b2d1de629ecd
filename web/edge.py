"""The outermost layers of the application, the same for every path.

Edge: a request's id, the headers that every answer carries, what is too long to be looked at.
Rescue: whatever was raised becomes an answer; a bug becomes 500 and tells nothing of itself.
"""

import re
from typing import NoReturn
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth.errors import Refused
from web.caller import masked
from web.graphql import is_large, where
from web.refusals import (
    GRAPHQL_JSON,
    PLAIN_JSON,
    HttpRefused,
    RefusalLog,
    as_refused,
    render,
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

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes HTTP on; there is nothing else yet."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        always = headers_for(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in always.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = request_id
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id, address=masked(scope))
        await self._app(scope, receive, send_with_headers)


def headers_for(scope: Scope) -> dict[str, str]:
    """The headers of whatever is answered to a request."""
    over_tls = OVER_TLS if scope["scheme"] == "https" else {}
    unread = CLOSE if is_large(Headers(scope=scope)) else {}  # or uvicorn reads on, for nobody
    return EVERY_ANSWER | NOT_HTML | over_tls | unread


class Rescue:
    """Turns whatever is raised inside into an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = RefusalLog()

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
            await self._app(scope, receive, send_and_note)
        except Exception as error:  # the last resort
            refused = self._refusal(error)
            if started:
                raise
            media_type = GRAPHQL_JSON if scope["path"] == "/graphql" else PLAIN_JSON
            await render(refused, media_type)(scope, receive, send)

    def _refusal(self, error: Exception) -> Refused:
        refused = as_refused(error) or from_router(error)
        if refused:
            self._log.write(refused, error)
            return refused
        log.error("request_failed", **where(error))
        return HttpRefused(
            500, "INTERNAL_SERVER_ERROR", "Something went wrong here; it has been logged."
        )


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
            headers=CLOSE,
        )


def refuse_odd_host(scope: Scope) -> None:
    """Raises HttpRefused 400 unless the request names one host (RFC 9112 3.2; HTTP/1.0 need not).

    We believe no Host, but a proxy before us may, and two readers must not read two things.
    """
    hosts = Headers(scope=scope).getlist("host")
    none_needed = not hosts and scope["http_version"] == "1.0"
    if not none_needed and not (len(hosts) == 1 and HOST.fullmatch(hosts[0])):
        raise HttpRefused(400, "BAD_REQUEST", "The Host header names no host.", headers=CLOSE)


async def to_rescue(request: Request, error: Exception) -> NoReturn:
    """Starlette's handler for its own 404 and 405: leaves them to Rescue, which has our form."""
    del request
    raise error


def from_router(error: Exception) -> HttpRefused | None:
    """Starlette's own 404 and 405, in our form."""
    if not isinstance(error, HTTPException):
        return None
    if error.status_code == 404:  # noqa: PLR2004 - the status itself
        return HttpRefused(404, "NOT_FOUND", "There is nothing here.", "GraphQL is at /graphql")
    code = "METHOD_NOT_ALLOWED" if error.status_code == 405 else "BAD_REQUEST"  # noqa: PLR2004
    return HttpRefused(
        error.status_code, code, "This request is not understood here.", headers=error.headers
    )
