"""The session in plain HTTP: for clients without GraphQL, and for proxies that ask who calls."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from auth.errors import CrossOrigin, Unauthenticated
from auth.viewer import Viewer
from context import Context, Services
from resolvers import beginnings, endings
from resolvers.beginnings import Beginning
from web.caller import find_viewer, origin_of
from web.head import head_of
from web.refusals import encode, method_not_allowed

METHODS = ("POST", "DELETE", "OPTIONS")


class SessionEndpoint:
    """The ASGI application at /session."""

    def __init__(self, services: Services, allowed_origins: tuple[str, ...]) -> None:
        self._services = services
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Raises Refused and Unavailable; web/edge.py renders them."""
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
        if request.method == "POST":
            return await self._create(request)
        origin = origin_of(request.scope, self._services.policy.address_detail)
        viewer = await find_viewer(self._services, head_of(request.scope), origin)
        if request.method != "DELETE":
            raise method_not_allowed(*METHODS)
        if viewer is None:
            raise Unauthenticated
        await endings.end(Context(self._services, viewer, origin), viewer, viewer.session_id)
        return Response(status_code=204)

    async def _create(self, request: Request) -> Response:
        """A new guest, whatever credential was sent."""
        refuse_cross_site(request, self._allowed_origins)
        origin = origin_of(request.scope, self._services.policy.address_detail)
        guest = await beginnings.begin(Context(self._services, None, origin), Beginning())
        return json(
            {
                "token": guest.token,
                "token_type": "Bearer",
                "expires_at": guest.session.expires_at.isoformat(),
                "session_id": str(guest.session.id),
                "username": guest.user.username,
            },
            status=201,
        )


class ValidateEndpoint:
    """The ASGI application at /session/validate and below.

    For any method, OPTIONS too: a proxy forwards its client's, and takes every 2xx for a yes.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 200 with who calls, in the body and in headers; raises like every door."""
        request = Request(scope, receive)
        origin = origin_of(request.scope, self._services.policy.address_detail)
        viewer = await find_viewer(self._services, head_of(request.scope), origin)
        if viewer is None:
            raise Unauthenticated
        await told(viewer)(scope, receive, send)


def told(viewer: Viewer) -> Response:
    """Who calls, for a proxy (headers) and for a person (body)."""
    return json(
        {
            "user": {
                "id": str(viewer.user_id),
                "username": viewer.user.username,
                "is_guest": viewer.user.is_guest,
            },
            "session": {
                "id": str(viewer.session_id),
                "label": viewer.session.label,
                "created_at": viewer.session.created_at.isoformat(),
                "expires_at": viewer.session.expires_at.isoformat(),
            },
        },
        headers={"X-User-Id": str(viewer.user_id), "X-Session-Id": str(viewer.session_id)},
    )


def refuse_cross_site(request: Request, allowed_origins: tuple[str, ...]) -> None:
    """Raises CrossOrigin for a page of another origin that is not listed.

    It could not read the answer, but it could make guests without end in its visitors' names.
    """
    origins = request.headers.getlist("origin")
    for origin in origins:
        if origin not in allowed_origins and not is_same(origin, request.headers.get("host", "")):
            raise CrossOrigin
    if not origins and request.headers.get("sec-fetch-site") == "cross-site":
        raise CrossOrigin


def is_same(origin: str, host: str) -> bool:
    """Whether an origin has this server's host and port; a proxy may have another scheme."""
    scheme, separator, netloc = origin.partition("://")
    return bool(scheme and separator and netloc) and netloc.lower() == host.lower()


def json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        encode(body), status_code=status, headers=headers, media_type="application/json"
    )
