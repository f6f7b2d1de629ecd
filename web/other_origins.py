"""What browsers are told of pages of other origins: which may call, and with what."""

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from web.head import head_of
from web.refusals import PLAIN_JSON, HttpRefused, render

VALIDATE = "/session/validate"


class OtherOrigins(CORSMiddleware):
    """Starlette's, except where its answer would be taken for ours."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override] # awaited all the same
        """Answers a preflight, and lets everything else through; without an Origin, unchanged.

        No preflight is answered where a proxy asks about its client's: it takes every 2xx for a
        yes, so OPTIONS needs a token there like any other method.
        """
        if scope["type"] != "http" or not head_of(scope).origin:
            return self.app(scope, receive, send)
        if f"{scope['path']}/".startswith(f"{VALIDATE}/"):
            return self.simple_response(scope, receive, send, request_headers=Headers(scope=scope))
        return super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Starlette's yes; its no in our form, with the same headers."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:  # noqa: PLR2004 - the status itself
            return answer
        refused = render(self._refusal(), PLAIN_JSON)
        about_the_body = {"content-type", "content-length"}
        refused.headers.update(
            {name: value for name, value in answer.headers.items() if name not in about_the_body}
        )
        return refused

    def _refusal(self) -> HttpRefused:
        return HttpRefused(
            403,
            "FORBIDDEN",
            "This page may not send such a request here.",
            f"List its origin in ALLOWED_ORIGINS; it may then use {', '.join(self.allow_methods)}"
            " with the headers Authorization and Content-Type",
        )
