"""WebSocket upgrades on their way in: an id, a line's context, and refusals like any other's."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth.errors import Refused
from web.edge import headers_for, refuse_odd_host, refuse_oversized
from web.failures import LastResort
from web.log_context import begin
from web.refusals import PLAIN_JSON, HttpRefused, as_refused, render

INTERNAL_ERROR = 1011  # RFC 6455 7.4.1


class Upgrades:
    """What Edge and Rescue are for HTTP."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._last_resort = LastResort()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Passes everything on; HTTP as it is."""
        pass_on = self._upgrade if scope["type"] == "websocket" else self._app
        return pass_on(scope, receive, send)

    async def _upgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes an upgrade on; whatever is raised becomes an answer, or a close."""
        request_id, is_open = begin(scope), False

        async def send_and_note(message: Message) -> None:
            nonlocal is_open
            if message["type"] == "websocket.accept":
                is_open = True
                message["headers"] = [(b"x-request-id", request_id.encode())]
            elif message["type"] == "websocket.close" and not is_open:
                raise nothing_here()  # the router's way to say so
            await send(message)

        try:
            refuse_oversized(scope)
            refuse_odd_host(scope)
            await self._app(scope, receive, send_and_note)
        except Exception as error:  # noqa: BLE001 - the last resort
            refused = self._last_resort.refusal(error, as_refused(error))
            if is_open:
                await send({"type": "websocket.close", "code": INTERNAL_ERROR})
            else:
                await deny(refused, request_id, scope, receive, send)


def nothing_here() -> HttpRefused:
    """404, as for HTTP."""
    return HttpRefused(404, "BAD_REQUEST", "There is nothing here.", "GraphQL is at /graphql")


async def deny(
    refused: Refused, request_id: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answers an upgrade with a refusal in HTTP (ASGI's websocket.http.response)."""
    response = render(refused, PLAIN_JSON)
    response.raw_headers += [*headers_for(scope), (b"x-request-id", request_id.encode())]
    await response(scope, receive, send)
