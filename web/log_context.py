"""Which request a line of the log is about: worked out only when a line is written."""

from contextvars import ContextVar
from random import getrandbits
from typing import NamedTuple

import structlog
from starlette.types import Scope

from web.caller import masked


class Asked(NamedTuple):
    """A request that is under way."""

    request_id: str
    scope: Scope


logs_tell: ContextVar[Asked] = ContextVar("logs_tell")


def begin(scope: Scope) -> str:
    """Gives a request its id, which the log's lines about it carry from now on."""
    request_id = f"{getrandbits(128):032x}"
    logs_tell.set(Asked(request_id, scope))
    return request_id


def add_request(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Adds the request's id and its client's network to a line; nothing outside of requests."""
    asked = logs_tell.get(None)
    if asked:
        event.setdefault("request_id", asked.request_id)
        event.setdefault("address", masked(asked.scope))
    return event
