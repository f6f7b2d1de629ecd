"""GraphQL over HTTP: the specification's draft of August 2026.

The order of what a request meets is the contract: the door, then the method, the media types, the
body, the document, and only then a resolver.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from functools import lru_cache

from graphql import ExecutionResult, OperationType
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from auth import strict_json
from auth.viewer import Viewer
from context import Context, Origin, Services
from web import documents, pages
from web.begun import Begun
from web.caller import find_viewer, origin_of
from web.departure import Departure
from web.head import BODY, Head, head_of
from web.kept import Kept
from web.operations import GraphQLRequest, Operation, Operations, told
from web.refusals import (
    GRAPHQL_JSON,
    PLAIN_JSON,
    HttpRefused,
    as_refused,
    encode,
    method_not_allowed,
)
from web.shortcut import ASKED, BEGUN, Endpoint
from web.streams import EVENT_STREAM, EventStream

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
MAX_BODY = 64 * 1024  # bytes
DIGITS = 12  # of a length that are worth reading
BODY_TIMEOUT = 20  # seconds from the door to the last byte
KNOWN = 200_000  # bytes of bodies that are known: they were read before, and have no variables
CONTENT_TYPES = {media: f"{media}; charset=utf-8".encode() for media in (GRAPHQL_JSON, PLAIN_JSON)}
CHARSETS = {"charset=utf-8", 'charset="utf-8"'}
BEARABLE = ("SESSION_STORE_UNAVAILABLE", "TIMEOUT", "RATE_LIMITED")  # answered by status too


class GraphQLEndpoint:
    """The ASGI application at /graphql."""

    def __init__(
        self, services: Services, operations: Operations, departure: Departure, *, ide: bool
    ) -> None:
        self._services = services
        self._operations = operations
        self._departure = departure
        self._ide = ide
        self._known: Kept[bytes, Operation] = Kept(KNOWN)
        self._endpoint = Endpoint(services, operations, departure, self._known)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers one request. Raises Refused and Unavailable; web/edge.py renders them."""
        answer: ASGIApp = self._answer
        if scope["method"] == "OPTIONS":
            answer = Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
        elif self._ide and wants_page(scope):
            answer = pages.ide()
        return answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers an operation; what its body is known to ask for is read at the door."""
        head = head_of(scope)
        body = scope.get(BODY)
        begun = None
        if body is None and may_read_ahead(scope, head):
            begun = Begun(received(receive))
            body = begun.value
        known = self._known.get(body) if body else None
        origin = origin_of(scope, self._services.policy.address_detail)
        viewer = await find_viewer(
            self._services,
            head,
            origin,
            with_live=known is not None and known.definition.lists_sessions,
            asked=scope.pop(ASKED, None),
        )
        if scope["method"] not in METHODS:
            raise method_not_allowed(*METHODS)
        may_stream, media_type = negotiate(head.accept, scope["method"])
        if known and media_type != EVENT_STREAM:
            require_json(head)
            operation = known
        else:
            sent = await read_request(scope, head, receive, begun, body)
            found = None if media_type == EVENT_STREAM else self._operations.prepare(sent)
            if found is None or is_streamed(found, may_stream=may_stream):
                await self._stream(sent, viewer, origin)(scope, receive, send)
                return
            operation = self._checked(scope, found, body)
        context = Context(self._services, viewer, origin)
        if operation.kind is OperationType.QUERY:
            work = scope.pop(BEGUN, None) or Begun(self._operations.execute(operation, context))
            is_at_once, result = work.is_done, await work.rest()
        else:
            is_at_once, result = False, await self._operations.execute(operation, context)
        told = answer(self._operations.noted(result))
        if is_at_once and known and body and viewer and not result.errors:
            self._endpoint.offer(scope, body, origin)
        await reply(send, media_type, told)

    def _checked(self, scope: Scope, operation: Operation, body: bytes | None) -> Operation:
        """An operation that may be executed, and is known from now on. Raises HttpRefused."""
        if scope["method"] != "POST" and operation.kind is not OperationType.QUERY:
            raise method_not_allowed("POST", "OPTIONS")
        operation = self._operations.checked(operation)
        if body and not operation.variables:
            self._known.put(body, operation)
        return operation

    def _stream(self, sent: GraphQLRequest, viewer: Viewer | None, origin: Origin) -> ASGIApp:
        """The answer in events; what is wrong with the document is one of them."""
        prepared = self._operations.try_prepare(sent)
        stream = EventStream(self._services, self._operations, prepared, viewer, origin)
        kind = prepared.kind if isinstance(prepared, Operation) else None

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] != "POST" and kind is OperationType.MUTATION:
                raise method_not_allowed("POST", "OPTIONS")
            without_end = kind is OperationType.SUBSCRIPTION
            with self._departure.stream() if without_end else nullcontext():
                await stream(scope, receive, send)

        return answer


def is_streamed(operation: Operation, *, may_stream: bool) -> bool:
    """Whether there is no other answer than events. Raises HttpRefused where they may not be."""
    if operation.kind is not OperationType.SUBSCRIPTION:
        return False
    if not may_stream:
        raise not_acceptable(EVENT_STREAM)
    return True


def may_read_ahead(scope: Scope, head: Head) -> bool:
    """Whether what is there of a body may be read before the door's verdict.

    Not where the client waits to be asked for it, or nobody will read it.
    """
    return scope["method"] == "POST" and b"expect" not in head and not is_large(head)


async def reply(send: Send, media_type: str, body: bytes) -> None:
    """Sends an answer with status 200."""
    headers = [
        (b"content-type", CONTENT_TYPES[media_type]),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wants_page(scope: Scope) -> bool:
    """Whether a browser was pointed here: it gets the page, whatever credential it sent."""
    return (
        scope["method"] in {"GET", "HEAD"}
        and "text/html" in head_of(scope).accept
        and not QueryParams(scope["query_string"]).get("query")
    )


@lru_cache(maxsize=256)
def negotiate(accept: str, method: str) -> tuple[bool, str]:
    """Whether events may be told, and the media type of a 2xx answer.

    Raises HttpRefused 406 when the client takes none of ours. RFC 9110 12.5.1; our own JSON is the
    better one wherever the client does not prefer the other, and any JSON is better than a stream
    of events.
    """
    if not accept.strip(", \t"):
        return False, GRAPHQL_JSON
    weights = {media: weight_of(media, accept) for media in (GRAPHQL_JSON, PLAIN_JSON)}
    best = max(weights, key=lambda media: weights[media])
    may_stream = stream_weight(accept) > 0 and method != "HEAD"
    if may_stream and stream_weight(accept) > weights[best]:
        return True, EVENT_STREAM
    if weights[best] <= 0:
        raise not_acceptable(GRAPHQL_JSON, PLAIN_JSON)
    return may_stream, best


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


async def read_request(
    scope: Scope, head: Head, receive: Receive, begun: Begun[bytes] | None, body: bytes | None
) -> GraphQLRequest:
    """The GraphQL request in an HTTP request. Raises HttpRefused."""
    if scope["method"] == "POST":
        require_json(head)
        return well_formed(parse_json(await read_body(head, receive, begun, body), "body"))
    return well_formed(from_query_string(QueryParams(scope["query_string"])))


def require_json(head: Head) -> None:
    """Raises HttpRefused 415 unless the body is JSON in UTF-8, as it is.

    No other type: a browser sends text, forms and multipart across origins without asking first.
    """
    if not is_json(head.body_type):
        raise HttpRefused(
            415,
            "BAD_REQUEST",
            "The body must be JSON in UTF-8, not compressed.",
            f"Send the header Content-Type: {PLAIN_JSON}",
        )


@lru_cache(maxsize=256)
def is_json(content_type: str) -> bool:
    """Whether a Content-Type is JSON's, and its charset, if it names one, UTF-8."""
    kind, *parameters = (p.strip().lower() for p in content_type.split(";"))
    charsets = {p for p in parameters if p.startswith("charset")}  # charset*= and charset = too
    return kind == PLAIN_JSON and charsets <= CHARSETS


async def read_body(
    head: Head, receive: Receive, begun: Begun[bytes] | None, body: bytes | None
) -> bytes:
    """The whole body. Raises HttpRefused: 413 for a large one, unread; 408 for a slow one.

    begun: where reading was begun; body: where it is there.
    """
    if is_large(head):
        raise too_large()
    if body is not None:
        return body
    begun = begun or Begun(received(receive))
    if begun.is_done:
        return await begun.rest()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await begun.rest()
    except TimeoutError:
        raise HttpRefused(
            408,
            "BAD_REQUEST",
            f"The body took longer than {BODY_TIMEOUT} seconds.",
            "Send the whole body at once",
        ) from None


async def received(receive: Receive) -> bytes:
    """The parts of a body. Raises HttpRefused 413 for a large one, 400 for one that breaks off."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpRefused(
                400, "BAD_REQUEST", "The body broke off.", "Send as many bytes as were declared"
            )
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise too_large()
    return bytes(body)


def is_large(head: Head) -> bool:
    """Whether a request declares a body that nobody here will read."""
    declared = head.get(b"content-length", (b"",))[0]
    if len(declared) < len(str(MAX_BODY)):
        return False
    length = declared.decode("latin-1").lstrip("0")
    return length.isdecimal() and (len(length) > DIGITS or int(length) > MAX_BODY)


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


def answer(result: ExecutionResult) -> bytes:
    """The body of the answer to an operation that was executed.

    200 with `data`, even where it is null. One exception: where something passing was in the way
    and nothing is left of data, raises HttpRefused, so that the status tells proxies and clients,
    and our log.
    """
    if not result.errors:
        return encode({"data": result.data})
    errors = [told(error) for error in result.errors[: documents.MAX_ERRORS]]
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
    return encode({"data": result.data, "errors": errors})


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
