"""Which request a line of the log is about: worked out only when a line is written."""

from contextvars import ContextVar
from random import getrandbits

import structlog
from starlette.types import Scope

from web.caller import masked

REQUEST_ID = "bigtwo.request_id"  # in the scope

logs_tell: ContextVar[Scope] = ContextVar("logs_tell")  # of the request that is under way


def begin(scope: Scope) -> str:
    """Gives a request its id, which the log's lines about it carry from now on."""
    request_id: str = scope.get(REQUEST_ID) or f"{getrandbits(128):032x}"
    scope[REQUEST_ID] = request_id
    logs_tell.set(scope)
    return request_id


def add_request(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Adds the request's id and its client's network to a line; nothing outside of requests."""
    scope = logs_tell.get(None)
    if scope:
        event.setdefault("request_id", scope[REQUEST_ID])
        event.setdefault("address", masked(scope))
    return event
