"""Heads of requests that were read before, byte by byte the same.

A client says the same with every request of an operation: who it is, what it takes, how long the
body is. To read that anew costs 7 to 12 µs, a sixth of a request. What follows from a head is kept
when it comes for the second time: where a proxy makes each another one, looking costs 1 µs.
Whether its token is good still, and its session lives, is asked every time.
"""

from typing import Any

from web.edge import SOUND, refuse_unsound
from web.head import BODY, Head, head_of
from web.kept import Kept
from web.refusals import HttpRefused

CAPACITY = 12_000_000  # bytes of memory, roughly: some 2,000 heads of browsers
SEEN = 10_000  # heads of which no more is known than that they came once
END = b"\r\n\r\n"
# The connection's, and a head's own; what else a scope says of a head, many say alike.
NOT_SHARED = {"server", "client", "scheme", "state", "headers", "head"}
MOST = 256  # paths, with what else is said
# Requests whose end is told in another way than by their length, or which are more than that.
SPECIAL = {b"transfer-encoding", b"expect", b"upgrade", b"connection", b"proxy-connection"}


def size(head: bytes) -> int:
    """Bytes of memory that a head takes, with what follows from it: most by its lines."""
    return 1700 + 200 * head.count(b"\r\n") + 2 * len(head)


# How long the body is; the head, as ASGI has it and as we do; what else the scope says of it.
Known = tuple[int, list[tuple[bytes, bytes]], Head, dict[str, Any]]

_kept: Kept[bytes, Known] = Kept(CAPACITY, size)
_rests: dict[str, dict[str, Any]] = {}  # these, each once for all heads
_seen: set[int] = set()


def find(data: bytes) -> tuple[Any, bytes] | None:
    """The scope and the body of a whole request, if its head is known."""
    end = data.find(END) + len(END)
    known = _kept.get(data[:end])
    if known is None:
        return None
    length, headers, head, rest = known
    if len(data) - end != length:
        return None
    body = data[end:]
    return {**rest, "headers": headers, "head": head, BODY: body}, body


def keep(data: bytes, scope: Any) -> None:
    """Keeps the head of a request that stands in these bytes, from the first to the last.

    The second time that it comes; by their hashes, of which two may be the same: then it is kept
    too early.
    """
    end = data.find(END) + len(END)
    if not came_before(hash(data[:end])):
        return
    head = head_of(scope)
    # Without its zeros: httptools takes any number of them (and spaces behind), int() does not.
    length = int(head.get(b"content-length", (b"",))[0].strip().lstrip(b"0") or b"0")
    usual = scope["method"] == "POST" and scope["http_version"] == "1.1"
    # The length proves that it was this end at which httptools saw the head end.
    if not usual or len(data) - end != length or head.keys() & SPECIAL:
        return
    try:
        refuse_unsound(scope)
    except HttpRefused:
        return
    rest = {name: value for name, value in scope.items() if name not in NOT_SHARED}
    if len(_rests) >= MOST:
        _rests.clear()
    rest = _rests.setdefault(repr(rest), rest | {SOUND: True})
    _kept.put(data[:end], (length, scope["headers"], head, rest))


def came_before(fingerprint: int) -> bool:
    """Whether a head of this hash came lately; from now on it has."""
    if fingerprint in _seen:
        return True
    if len(_seen) >= SEEN:
        _seen.clear()
    _seen.add(fingerprint)
    return False
