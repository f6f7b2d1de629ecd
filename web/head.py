"""A request's headers, by name: read once, asked many times."""

from starlette.types import Scope

BODY = "body"  # in the scope: a request's, where it came together with its head

Head = dict[bytes, tuple[bytes, ...]]  # names in lower case, all values of each in their order


def head_of(scope: Scope) -> Head:
    """The headers of a request."""
    found: Head = scope.get("head", {})
    if not found:
        for name, value in scope["headers"]:
            found[name] = (*found[name], value) if name in found else (value,)
        scope["head"] = found
    return found


def text(head: Head, name: bytes) -> str:
    """The values of a header as one text (RFC 9110 5.3), empty when there is none."""
    values = head.get(name)
    return b", ".join(values).decode("latin-1") if values else ""
