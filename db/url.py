"""DATABASE_URL as people and hosters write it, made into what connects to it.

asyncpg understands libpq's URLs (`target_session_attrs`, `sslmode`, unix sockets), but what it does
not know or cannot use it notices at the first connection, with a puzzling message. So the URL is
judged here, at start. No message quotes it, or any part that may hold the password.
"""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import asyncpg

SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
NAME = re.compile(r"[\w.-]+")
MAX_PORT = 65535
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\[\]:]*)(:\d*)?")

# libpq's parameters that asyncpg reads from the URL by itself.
ASYNCPG_KNOWS = frozenset(
    {
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "database",
        "passfile",
        "target_session_attrs",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
    }
)
# Ours to translate: asyncpg has no channel binding; hosted URLs ask for it all the same.
WE_KNOW = frozenset({"connect_timeout", "channel_binding", "application_name"})
VALUES = {
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "channel_binding": ("disable", "prefer", "require"),
}
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


class DatabaseUrlError(ValueError):
    """DATABASE_URL cannot be used; the message never quotes it: it holds a password."""


def connect_arguments(url: str, *, timeout: float) -> dict[str, Any]:
    """What SQLAlchemy hands to asyncpg for this URL; its hosts share the timeout (seconds) evenly.

    Raises DatabaseUrlError when the URL is none, or holds what would be lost or cannot be used.
    """
    parts, query = parse(url)
    hosts = each_host(parts, {k: v for k, v in query.items() if v and k in ASYNCPG_KNOWS})
    return {
        "async_creator_fn": partial(connect, hosts),
        "timeout": attempt(query.get("connect_timeout", ""), timeout / len(hosts)),
        "server_settings": {"application_name": query.get("application_name") or "bigtwo-sessions"},
    }


async def connect(dsns: list[str], **arguments: Any) -> Any:
    """A connection to the first host that answers and suits, one of these DSNs for each.

    asyncpg would try several by itself, but within one timeout: a first host that hangs (a machine
    without power does) would leave no time for the second.
    """
    for dsn in dsns[:-1]:
        try:
            return await connect_to(dsn, **arguments)
        except (
            OSError,
            asyncpg.CannotConnectNowError,
            asyncpg.TargetServerAttributeNotMatched,
        ):
            continue
    return await connect_to(dsns[-1], **arguments)


async def connect_to(dsn: str, **arguments: Any) -> Any:
    """A connection; whoever waits for it may be cancelled, connecting itself is not.

    Broken off in its first steps, asyncpg leaves an error to nobody, which asyncio reports.
    """
    connecting = asyncio.ensure_future(asyncpg.connect(dsn, **arguments))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(drop_connection)
        raise


def drop_connection(connecting: "asyncio.Future[Any]") -> None:
    """Closes a connection that nobody waits for any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()


def parse(url: str) -> tuple[SplitResult, dict[str, str]]:
    """The parts of a URL and its parameters, once all of it is understood."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        raise misplaced() from None
    if parts.scheme not in SCHEMES:
        raise DatabaseUrlError(
            "DATABASE_URL must begin with postgresql:// (or postgres://, postgresql+asyncpg://)"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if has_misplaced(parts, query):
        raise misplaced()
    if unknown := sorted(query.keys() - ASYNCPG_KNOWS - WE_KNOW):
        raise DatabaseUrlError(
            f"DATABASE_URL has a parameter that this server does not know: {', '.join(unknown)}"
        )
    for name, allowed in VALUES.items():
        if query.get(name) and query[name] not in allowed:
            raise DatabaseUrlError(f"DATABASE_URL: {name} must be one of {', '.join(allowed)}")
    for name in FILES:
        if query.get(name) and not Path(query[name]).is_file():
            raise DatabaseUrlError(f"DATABASE_URL: {name} names a file that is not there")
    return parts, query


def has_misplaced(parts: SplitResult, query: dict[str, str]) -> bool:
    """Whether a bare @ / ? # : [ of a password has moved where the parts of the URL end."""
    user, _, hosts = parts.netloc.rpartition("@")
    return (
        "@" in user
        or "@" in parts.path
        or bool(parts.fragment)
        or ("@" in parts.query and not user)
        or not all(NAME.fullmatch(name) for name in query)
        or not all(is_host(host) for host in hosts.split(","))
    )


def is_host(text: str) -> bool:
    """Whether a text is a host with a port that there can be, or without one."""
    match = HOST.fullmatch(text)
    return match is not None and is_port((match[3] or "").removeprefix(":") or "5432")


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return text.isdecimal() and 1 <= int(text) <= MAX_PORT


def misplaced() -> DatabaseUrlError:
    """What to do about that."""
    return DatabaseUrlError(
        "DATABASE_URL cannot be read: in a user or password write @ as %40, / as %2F, ? as %3F,"
        " # as %23, : as %3A, [ as %5B, % as %25; a port is a number"
    )


def each_host(parts: SplitResult, query: dict[str, str]) -> list[str]:
    """One DSN for each host that the URL names, before the path or as a parameter."""
    user, at, hosts = parts.netloc.rpartition("@")
    if hosts or "host" not in query:
        return [dsn(parts, user + at + host, query) for host in hosts.split(",")]
    names, ports = query["host"].split(","), query.get("port", "5432").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names) or not all(map(is_port, ports)):
        raise DatabaseUrlError("DATABASE_URL: port must be one number, or one for each host")
    return [
        dsn(parts, parts.netloc, query | {"host": name, "port": port})
        for name, port in zip(names, ports, strict=True)
    ]


def dsn(parts: SplitResult, netloc: str, query: dict[str, str]) -> str:
    """The URL for asyncpg with other hosts and parameters."""
    return parts._replace(scheme="postgresql", netloc=netloc, query=urlencode(query)).geturl()


def attempt(connect_timeout: str, timeout: float) -> float:
    """The seconds for one connection attempt: libpq's connect_timeout (0 = none), at most ours."""
    if not connect_timeout:
        return timeout
    if not connect_timeout.isdecimal():
        raise DatabaseUrlError("DATABASE_URL: connect_timeout must be a number of seconds")
    return min(float(connect_timeout) or timeout, timeout)


def without_password(url: str) -> str:
    """The URL for a log or a screen: host, port and database, no user, password or parameter.

    Raises DatabaseUrlError.
    """
    parts, query = parse(url)
    database = unquote(parts.path.strip("/")) or query.get("dbname") or query.get("database", "")
    if hosts := unquote(parts.netloc.rpartition("@")[2]):
        return f"postgresql://{hosts}/{database}"
    port = f", port {query['port']}" if query.get("port") else ""
    return f"{database} at {query.get('host') or 'the default host'}{port}"
