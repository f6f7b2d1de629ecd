"""How a refusal looks to a client: one JSON form for GraphQL and REST, with its headers."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
import structlog
from starlette.responses import Response

from auth.errors import Refused, StoreUnavailable, Unauthenticated
from db.engine import Unavailable

GRAPHQL_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"

log = structlog.get_logger()


class HttpRefused(Refused):
    """A request that is not understood or not wanted, whoever sent it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[dict[str, object]] = (),
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.hint = hint
        self.errors = errors
        self._message = message
        self._headers = dict(headers or {})

    @property
    def message(self) -> str:
        """What is wrong, in a sentence."""
        return self._message

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that the status asks for."""
        return self._headers


def method_not_allowed(*allowed: str) -> HttpRefused:
    """405, with the methods that are allowed."""
    methods = ", ".join(allowed)
    return HttpRefused(
        405,
        "METHOD_NOT_ALLOWED",
        "This method is not allowed here.",
        f"Use one of: {methods}",
        headers={"Allow": methods},
    )


def internal_error() -> HttpRefused:
    """500 for a bug, which tells nothing of itself."""
    return HttpRefused(
        500,
        "INTERNAL_SERVER_ERROR",
        "Something went wrong here; it has been logged.",
        "If it goes on, tell whoever runs this server the X-Request-Id of this answer",
    )


def as_refused(error: BaseException | None) -> Refused | None:
    """The refusal that an exception stands for; None for a bug."""
    if isinstance(error, Unavailable):
        return StoreUnavailable()
    return error if isinstance(error, Refused) else None


def render(refused: Refused, media_type: str) -> Response:
    """A refusal as an HTTP answer: `{"errors": […]}`, and no `data`."""
    return Response(
        encode({"errors": errors_of(refused)}),
        status_code=refused.status,
        headers=refused.headers,
        media_type=f"{media_type}; charset=utf-8",
    )


def errors_of(refused: Refused) -> Sequence[dict[str, object]]:
    """A refusal as GraphQL errors: one, or those that it was raised with."""
    if isinstance(refused, HttpRefused) and refused.errors:
        return refused.errors
    return [{"message": refused.message, "extensions": refused.extensions}]


def encode(body: object) -> bytes:
    """JSON in UTF-8; what is no character (a message may quote one) is a question mark."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        text = json.dumps(
            body, ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat
        )
        return text.encode("utf-8", "replace")


def write_down(refused: Refused, error: BaseException) -> None:
    """One line for a refusal: what and why, nothing that the client sent.

    error: what the refusal stands for, or was raised from; the log names the cause.
    """
    facts: dict[str, object] = {"code": refused.code, "status": refused.status}
    if isinstance(refused, Unauthenticated) and refused.reason:
        facts["reason"] = refused.reason
    for cause in (error, error.__cause__):
        if isinstance(cause, Unavailable):
            facts["cause"] = str(cause)
    log.warning("refused", **facts)
