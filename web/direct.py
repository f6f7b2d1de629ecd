"""The way to the one path that nearly every request asks for."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send


class Direct:
    """Leads to one path without asking the router, which tries patterns: 8 µs of a request's 40."""

    def __init__(self, app: ASGIApp, *, path: str, to: ASGIApp) -> None:
        self._app = app
        self._path = path
        self._to = to

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Passes a request on, there or to the router."""
        direct = scope["type"] == "http" and scope["path"] == self._path
        return (self._to if direct else self._app)(scope, receive, send)
