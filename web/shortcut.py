"""The short way of a request whose head and body were answered before.

What a head says stays true: whose token it holds, what may be answered, with which headers. What a
body without variables asks for does, too. When both come again (server/heads.py finds them), only
what the moment tells is left: whether the token is in its time, the session's row, and what the
operation makes of it. That needs no task, no coroutine for each layer and no messages between them:
13 of 44 µs. Whatever is more than to answer 200 once more goes the long way from where it is, with
the row that was read for it. So every refusal is made there, and nowhere else.
"""

from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from auth.errors import Unauthenticated
from auth.tokens import Claims, refuse_untimely
from context import Asked, Context, Origin, Services, ask, judge
from db.sessions import Key
from web.begun import Begun
from web.departure import Departure
from web.head import Head, head_of, lines
from web.kept import Kept
from web.log_context import REQUEST_ID, begin
from web.operations import Operation, Operations
from web.refusals import encode

# In the scope of a request whose head is known:
CONNECTION = "bigtwo.connection"  # what its answer depends on, too: the application, who connected
ASKED = "bigtwo.asked"  # the door's question, where it was asked the short way
BEGUN = "bigtwo.begun"  # the operation, where it was begun there
SHORTCUT = "bigtwo.shortcut"  # for the next time; it is laid when the answer has all its headers

CHANGING = {b"content-length", b"x-request-id"}  # headers that each answer has its own of

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Endpoint:
    """Where shortcuts lead to."""

    services: Services
    operations: Operations
    departure: Departure
    known: Kept[bytes, Operation]  # by their bodies

    def offer(self, scope: Scope, body: bytes, origin: Origin) -> None:
        """Offers a shortcut to a request of a viewer's, which was answered at once without errors.

        To this caller: what is there at once for one, another may have to wait for.
        """
        claims = self.services.tokens.kept(head_of(scope).authorization[0])
        if claims and CONNECTION in scope:
            scope[SHORTCUT] = Shortcut(self, scope, body, claims, origin)


class Shortcut:
    """From a head and a body to their next answer, on connections like the first one's."""

    __slots__ = (
        "_body",
        "_claims",
        "_client",
        "_connection",
        "_endpoint",
        "_headers",
        "_key",
        "_origin",
    )

    def __init__(
        self, endpoint: Endpoint, scope: Scope, body: bytes, claims: Claims, origin: Origin
    ) -> None:
        self._endpoint = endpoint
        self._connection = scope[CONNECTION]
        self._client = scope["client"]  # as a trusted proxy says
        self._body = hash(body)  # another of the same would be tried, perhaps in vain
        self._claims = claims
        self._key = Key(claims.user_id, claims.session_id)
        self._origin = origin
        self._headers = b""

    def lay(self, head: Head, headers: Headers) -> None:
        """Leads from a head to answers with these headers."""
        self._headers = shared(lines(h for h in headers if h[0] not in CHANGING))
        head.shortcut = self

    def operation(self, connection: object, body: bytes) -> Operation | None:
        """What a body asks for, if that may be answered this way now."""
        is_open = (
            hash(body) == self._body
            and connection == self._connection
            and not self._endpoint.departure.has_begun
            and self._is_timely()
        )
        return self._endpoint.known.get(body) if is_open else None

    def _is_timely(self) -> bool:
        """Whether the token is in its time, as far as that is known without asking."""
        now = self._endpoint.services.clock.known()
        if now is None:
            return False
        try:
            refuse_untimely(self._claims, now=now)
        except Unauthenticated:
            return False
        return True

    def ask(self, operation: Operation) -> Asked:
        """Asks for the session."""
        with_live = operation.definition.lists_sessions
        return ask(self._endpoint.services, self._key, with_live=with_live)

    def answer(self, operation: Operation, asked: Asked, scope: Scope) -> bytes | None:
        """An answer's headers and body, with what was found; None for the long way."""
        # An error is looked at and not raised: its traceback would hold all of this.
        if asked.cancelled() or asked.exception():
            return None
        request_id = scope[REQUEST_ID] = begin({"client": self._client})
        try:
            viewer = judge(asked.result())
            if viewer.is_use_due:
                return None
            context = Context(self._endpoint.services, viewer, self._origin)
            begun = Begun(self._endpoint.operations.execute(operation, context))
            if not begun.is_done:
                scope[BEGUN] = begun
                return None
            result = begun.value
            body = encode({"data": result.data}) if result and not result.errors else None
        except Exception:  # noqa: BLE001 - it is met again on the long way, which tells of it
            return None
        return body and b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._headers,
            request_id.encode(),
            len(body),
            body,
        )


@lru_cache(maxsize=256)
def shared(told: bytes) -> bytes:
    """One object for all who are told the same: so it stays in the processor's cache."""
    return told
