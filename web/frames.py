"""The messages of graphql-transport-ws, read strictly and written.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import json
from dataclasses import dataclass

from auth import strict_json
from web.graphql import well_formed
from web.operations import GraphQLRequest
from web.refusals import HttpRefused, encode

PROTOCOL = "graphql-transport-ws"
ACK = '{"type":"connection_ack"}'


class Close(Exception):
    """The connection is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason  # at most 123 bytes (RFC 6455 5.5)


@dataclass(frozen=True, slots=True)
class Init:
    """The first message; the values of the credential that it carries."""

    authorization: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with its payload."""

    payload: object


@dataclass(frozen=True, slots=True)
class Pong:
    """To be ignored."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """An operation, under an id."""

    id: str
    sent: GraphQLRequest


@dataclass(frozen=True, slots=True)
class Complete:
    """The client is no longer interested."""

    id: str


Message = Init | Ping | Pong | Subscribe | Complete


def read(text: str | None) -> Message:
    """A message; None is one of bytes. Raises Close 4400 for what is none."""
    if text is None:
        raise malformed("messages are text")
    try:
        message = strict_json.loads(text.encode())
    except ValueError:
        raise malformed("a message is JSON") from None
    if not isinstance(message, dict):
        raise malformed("a message is a JSON object")
    payload = message.get("payload")
    match message.get("type"):
        case "connection_init":
            return Init(credentials(an_object(payload)))
        case "ping":
            return Ping(an_object(payload))
        case "pong":
            an_object(payload)
            return Pong()
        case "subscribe":
            return Subscribe(an_id(message), a_request(payload))
        case "complete":
            return Complete(an_id(message))
        case _:
            raise malformed("a message has one of the protocol's types")


def an_object(payload: object) -> dict[str, object] | None:
    """The payload of a message that may have none."""
    if not isinstance(payload, dict | None):
        raise malformed("payload is an object")
    return payload


def an_id(message: dict[str, object]) -> str:
    """The id of an operation."""
    given = message.get("id")
    if not isinstance(given, str) or not given or any("\ud800" <= c <= "\udfff" for c in given):
        raise malformed("id is a string that is not empty")
    return given


def a_request(payload: object) -> GraphQLRequest:
    """The operation in a payload."""
    try:
        return well_formed(payload)
    except HttpRefused:
        raise malformed("payload is a GraphQL request") from None


def credentials(payload: dict[str, object] | None) -> tuple[bytes, ...]:
    """The values of `Authorization`, in any case; other members are ignored."""
    given = [value for name, value in (payload or {}).items() if name.lower() == "authorization"]
    try:
        return tuple(value.encode("ascii") for value in given)  # type: ignore[attr-defined]
    except (AttributeError, UnicodeEncodeError):
        raise malformed("Authorization is a string") from None


def malformed(rule: str) -> Close:
    """4400, with the rule that was broken; what was sent is not quoted."""
    return Close(4400, f"Malformed: {rule}.")


def next_of(op_id: str, payload: dict[str, object]) -> str:
    """A result."""
    return encode({"id": op_id, "type": "next", "payload": payload}).decode()


def error_of(op_id: str, errors: object) -> str:
    """The end of an operation that failed."""
    return encode({"id": op_id, "type": "error", "payload": errors}).decode()


def complete_of(op_id: str) -> str:
    """The end of an operation."""
    return encode({"id": op_id, "type": "complete"}).decode()


def pong_of(payload: object) -> str:
    """The answer to a ping, in ASCII, so that whatever JSON can hold comes back."""
    with_payload = {} if payload is None else {"payload": payload}
    return json.dumps({"type": "pong"} | with_payload, separators=(",", ":"))
