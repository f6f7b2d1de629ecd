"""DATABASE_URL as people and hosters write it, made into what asyncpg connects with.

asyncpg understands libpq's URLs (several hosts, `target_session_attrs`, `sslmode`, unix sockets),
but hands every parameter that it does not know to the server as a setting, where it fails at the
first connection with a puzzling message. So unknown ones are refused here, at start, by name.
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})

# libpq's names that asyncpg reads from the URL by itself.
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


class DatabaseUrlError(ValueError):
    """DATABASE_URL cannot be used; the message never quotes it: it holds a password."""


def connect_arguments(url: str, *, timeout: float) -> dict[str, Any]:
    """What asyncpg.connect takes for this URL; its hosts share the timeout (seconds) evenly.

    Raises DatabaseUrlError when the URL is none, or has a parameter that would be lost.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise DatabaseUrlError(
            "DATABASE_URL must begin with postgresql:// (or postgres://, postgresql+asyncpg://)"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(query.keys() - ASYNCPG_KNOWS - WE_KNOW):
        raise DatabaseUrlError(
            f"DATABASE_URL has a parameter that this server does not know: {', '.join(unknown)}"
        )
    return {
        "dsn": parts._replace(
            scheme="postgresql",
            query=urlencode({k: v for k, v in query.items() if v and k in ASYNCPG_KNOWS}),
        ).geturl(),
        "timeout": attempt(
            query.get("connect_timeout", ""), timeout / (hosts(parts.netloc, query))
        ),
        "server_settings": {"application_name": query.get("application_name") or "bigtwo-sessions"},
    }


def hosts(netloc: str, query: dict[str, str]) -> int:
    """How many hosts the URL names: one that hangs must leave the next one time to answer."""
    return 1 + (netloc or query.get("host", "")).count(",")


def attempt(connect_timeout: str, timeout: float) -> float:
    """The seconds for one connection attempt: libpq's connect_timeout (0 = none), at most ours."""
    if not connect_timeout:
        return timeout
    if not connect_timeout.isdecimal():
        raise DatabaseUrlError("DATABASE_URL: connect_timeout must be a number of seconds")
    return min(float(connect_timeout) or timeout, timeout)


def without_password(url: str) -> str:
    """The URL for a log or a screen: host, port and database, no user, password or parameter."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
    return f"postgresql://{where}{parts.path}"
