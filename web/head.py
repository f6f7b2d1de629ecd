"""A request's headers, by name: read once, asked many times."""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from web.shortcut import Shortcut

SHORT = 512  # bytes of what is kept of a header: strangers send 16 kB of it
BODY = "body"  # in the scope: a request's, where it came together with its head


class Head(dict[bytes, tuple[bytes, ...]]):
    """Names in lower case, all values of each in their order; and what every request is asked.

    What many clients say alike is one object in all their heads (server/heads.py keeps thousands):
    so it is in the processor's cache, and what is one caller's own are few lines of memory.
    """

    __slots__ = ("accept", "authorization", "body_type", "origin", "shortcut", "user_agent")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            self[name] = (*self[name], value) if name in self else (value,)
        self.shortcut: Shortcut | None = None
        agent = self.get(b"user-agent")
        self.authorization = self.get(b"authorization", ())
        self.origin = self.get(b"origin", ())
        self.accept = text(self.get(b"accept", ()))
        self.user_agent = text(agent[:1]) if agent else None
        # Of a body that is not compressed, where one header says it.
        types = self.get(b"content-type", ())
        self.body_type = text(types) if len(types) == 1 and b"content-encoding" not in self else ""


def head_of(scope: Scope) -> Head:
    """The headers of a request."""
    found: Head | None = scope.get("head")
    if found is None:
        found = scope["head"] = Head(scope["headers"])
    return found


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are written."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def text(values: tuple[bytes, ...]) -> str:
    """The values of a header as one text (RFC 9110 5.3), empty when there is none."""
    told = b", ".join(values)
    return shared(told) if len(told) <= SHORT else told.decode("latin-1")


@lru_cache(maxsize=1024)
def shared(told: bytes) -> str:
    """The one text of these bytes."""
    return told.decode("latin-1")
