"""GraphQL over HTTP: the specification's draft of August 2026.

The order of what a request meets is the contract: the door, then the method, the media types, the
body, the document, and only then a resolver.
"""

import asyncio
from collections.abc import Sequence

from graphql import ExecutionResult, OperationType
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from auth import strict_json
from auth.viewer import Viewer
from context import Context, Origin, Services
from web import documents, pages
from web.caller import find_viewer, origin_of
from web.operations import GraphQLRequest, Operation, Operations, told
from web.refusals import (
    GRAPHQL_JSON,
    PLAIN_JSON,
    HttpRefused,
    as_refused,
    encode,
    method_not_allowed,
)
from web.streams import EVENT_STREAM, EventStream

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
MAX_BODY = 64 * 1024  # bytes
DIGITS = 12  # of a length that are worth reading
BODY_TIMEOUT = 20  # seconds from the door to the last byte
CHARSETS = {"charset=utf-8", 'charset="utf-8"'}
BEARABLE = ("SESSION_STORE_UNAVAILABLE", "TIMEOUT", "RATE_LIMITED")  # answered by status too


class GraphQLEndpoint:
    """The ASGI application at /graphql."""

    def __init__(self, services: Services, *, ide: bool, introspection: bool) -> None:
        self._services = services
        self._ide = ide
        self.operations = Operations(introspection=introspection)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Raises Refused and Unavailable; web/edge.py renders them."""
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response | EventStream:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
        if self._ide and wants_page(request):
            return pages.ide()
        origin = origin_of(request, self._services.policy.address_detail)
        viewer = await find_viewer(self._services, request, origin)
        if request.method not in METHODS:
            raise method_not_allowed(*METHODS)
        accept = ",".join(request.headers.getlist("accept"))
        may_stream = stream_weight(accept) > 0 and request.method != "HEAD"
        media_type = negotiate(accept, may_stream=may_stream)
        sent = await read_request(request)
        if media_type == EVENT_STREAM:
            return self._stream(request, self.operations.try_prepare(sent), viewer, origin)
        operation = self.operations.prepare(sent)
        if operation.kind is OperationType.SUBSCRIPTION:
            if not may_stream:
                raise not_acceptable(EVENT_STREAM)
            return self._stream(request, self.operations.try_prepare(sent), viewer, origin)
        if request.method != "POST" and operation.kind is not OperationType.QUERY:
            raise method_not_allowed("POST", "OPTIONS")
        self.operations.check_variables(operation)
        context = Context(self._services, viewer, origin)
        return answer(await self.operations.execute(operation, context), media_type)

    def _stream(
        self,
        request: Request,
        prepared: Operation | HttpRefused,
        viewer: Viewer | None,
        origin: Origin,
    ) -> EventStream:
        """The answer in events; what is wrong with the document is one of them."""
        kind = prepared.kind if isinstance(prepared, Operation) else None
        if request.method != "POST" and kind is OperationType.MUTATION:
            raise method_not_allowed("POST", "OPTIONS")
        return EventStream(self._services, self.operations, prepared, viewer, origin)


def wants_page(request: Request) -> bool:
    """Whether a browser was pointed here: it gets the page, whatever credential it sent."""
    return (
        request.method in {"GET", "HEAD"}
        and "text/html" in request.headers.get("accept", "")
        and not request.query_params.get("query")
    )


def negotiate(accept: str, *, may_stream: bool = False) -> str:
    """The media type of a 2xx answer. Raises HttpRefused 406 when the client takes none of ours.

    RFC 9110 12.5.1; our own JSON is the better one wherever the client does not prefer the other,
    and any JSON is better than a stream of events.
    """
    if not accept.strip(", \t"):
        return GRAPHQL_JSON
    weights = {media: weight_of(media, accept) for media in (GRAPHQL_JSON, PLAIN_JSON)}
    best = max(weights, key=lambda media: weights[media])
    if may_stream and stream_weight(accept) > weights[best]:
        return EVENT_STREAM
    if weights[best] <= 0:
        raise not_acceptable(GRAPHQL_JSON, PLAIN_JSON)
    return best


def not_acceptable(*media_types: str) -> HttpRefused:
    """406, with what can be had."""
    return HttpRefused(
        406,
        "BAD_REQUEST",
        "No media type of the Accept header can be had here.",
        f"Accept {' or '.join(media_types)}",
    )


def stream_weight(accept: str) -> float:
    """How much an Accept header likes a stream of events, which must be named; 0 = not at all."""
    return weight_of(EVENT_STREAM, accept) if EVENT_STREAM in accept.lower() else 0.0


def weight_of(media: str, accept: str) -> float:
    """How much an Accept header likes a media type, by its most specific range; 0 = not at all."""
    best = (0, 0.0)
    for item in accept.split(","):
        offered, *parameters = (part.strip().lower() for part in item.split(";"))
        specific = {media: 3, "application/*": 2, "*/*": 1}.get(offered, 0)
        best = max(best, (specific, quality(parameters))) if specific else best
    return best[1]


def quality(parameters: Sequence[str]) -> float:
    """The q of an Accept item; 1 when it has none, 0 when it is no number."""
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


async def read_request(request: Request) -> GraphQLRequest:
    """The GraphQL request in an HTTP request. Raises HttpRefused."""
    if request.method == "POST":
        require_json(request)
        return well_formed(parse_json(await read_body(request), "body"))
    return well_formed(from_query_string(request.query_params))


def require_json(request: Request) -> None:
    """Raises HttpRefused 415 unless the body is JSON in UTF-8, as it is.

    No other type: a browser sends text, forms and multipart across origins without asking first.
    """
    kind, *parameters = (
        p.strip().lower() for p in request.headers.get("content-type", "").split(";")
    )
    charsets = {p for p in parameters if p.startswith("charset")}  # charset*= and charset = too
    once = len(request.headers.getlist("content-type")) == 1
    encoded = "content-encoding" in request.headers
    if kind != PLAIN_JSON or not charsets <= CHARSETS or not once or encoded:
        raise HttpRefused(
            415,
            "BAD_REQUEST",
            "The body must be JSON in UTF-8, not compressed.",
            f"Send the header Content-Type: {PLAIN_JSON}",
        )


async def read_body(request: Request) -> bytes:
    """The whole body. Raises HttpRefused: 413 for a large one, unread; 408 for a slow one."""
    if is_large(request.headers):
        raise too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise too_large()
    except TimeoutError:
        raise HttpRefused(
            408,
            "BAD_REQUEST",
            f"The body took longer than {BODY_TIMEOUT} seconds.",
            "Send the whole body at once",
        ) from None
    except ClientDisconnect:
        raise HttpRefused(
            400, "BAD_REQUEST", "The body broke off.", "Send as many bytes as were declared"
        ) from None
    return bytes(body)


def is_large(headers: Headers) -> bool:
    """Whether a request declares a body that nobody here will read."""
    declared = headers.get("content-length", "").lstrip("0")
    return declared.isdecimal() and (len(declared) > DIGITS or int(declared) > MAX_BODY)


def too_large() -> HttpRefused:
    """413 for a body of which nobody reads the rest."""
    return HttpRefused(
        413,
        "BAD_REQUEST",
        f"The body has more than {MAX_BODY} bytes.",
        "Send smaller requests, or several",
    )


def parse_json(data: bytes, what: str) -> object:
    """A JSON value. Raises HttpRefused 400."""
    try:
        return strict_json.loads(data)
    except ValueError:
        raise HttpRefused(
            400,
            "BAD_REQUEST",
            f"The {what} is no JSON in UTF-8.",
            'Send {"query": "…", "variables": {…}}',
        ) from None


def from_query_string(parameters: QueryParams) -> dict[str, object]:
    """The members of a request sent by GET; an empty one is an absent one."""
    found: dict[str, object] = {}
    for name in ("query", "operationName", "variables", "extensions"):
        values = parameters.getlist(name)
        if len(values) > 1:
            raise malformed(f"{name} stands twice")
        if values and values[0]:
            found[name] = values[0]
    for name in ("variables", "extensions"):
        if name in found:
            found[name] = parse_json(str(found[name]).encode("utf-8", "surrogatepass"), name)
    return found


def well_formed(body: object) -> GraphQLRequest:
    """The request in a JSON value; members that nobody knows are ignored.

    Raises HttpRefused 422 for another shape.
    """
    if not isinstance(body, dict):
        raise malformed("it is no JSON object")
    query, name = body.get("query"), body.get("operationName")
    variables, extensions = body.get("variables"), body.get("extensions")
    if not isinstance(query, str):
        raise malformed("query must be a string")
    if not isinstance(name, str | None):
        raise malformed("operationName must be a string")
    if not isinstance(variables, dict | None):
        raise malformed("variables must be an object")
    if not isinstance(extensions, dict | None):
        raise malformed("extensions must be an object")
    return GraphQLRequest(query, name or None, variables or {})


def malformed(why: str) -> HttpRefused:
    """422 for JSON that is no GraphQL request."""
    return HttpRefused(
        422,
        "BAD_REQUEST",
        f"This is no GraphQL request: {why}.",
        'Send {"query": "…", "variables": {…}}',
    )


def answer(result: ExecutionResult, media_type: str) -> Response:
    """The HTTP answer to an operation that was executed.

    200 with `data`, even where it is null. One exception: where something passing was in the way
    and nothing is left of data, raises HttpRefused, so that the status tells proxies and clients,
    and our log.
    """
    errors = [told(error) for error in (result.errors or ())[: documents.MAX_ERRORS]]
    met = passing(result)
    if met and (refused := as_refused(met)):
        raise HttpRefused(
            refused.status,
            refused.code,
            refused.message,
            refused.hint,
            headers=refused.headers,
            errors=errors,
        ) from met
    body: dict[str, object] = {"data": result.data}
    if errors:
        body["errors"] = errors
    return Response(encode(body), media_type=f"{media_type}; charset=utf-8")


def passing(result: ExecutionResult) -> Exception | None:
    """The passing trouble that left nothing of the data, if it was that."""
    if result.data and any(value is not None for value in result.data.values()):
        return None
    met = (error.original_error for error in result.errors or ())
    return next((error for error in met if is_passing(error)), None)


def is_passing(error: Exception | None) -> bool:
    """Whether the same request may succeed later."""
    refused = as_refused(error)
    return refused is not None and refused.code in BEARABLE
