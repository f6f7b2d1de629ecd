"""The settings: the only reader of the environment.

A misspelt or unknown setting is refused at start by its name, because a setting that is silently
ignored (`SESSION_ABSOLUTE_LIFETME=3600`) is a policy that nobody enforces.
"""

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

ROOT = Path(__file__).resolve().parent
STATE = ROOT / ".state"  # git-ignored: the embedded database or its id, and fetched files of pages

OUR_PREFIXES = ("JWT_", "GUEST_", "SESSION_")
# Names that others own, although they begin like ours or are two edits away from one of ours.
OTHERS = frozenset(
    {
        *("SESSION_MANAGER", "HOME", "ROOT", "OS", "MORE", "TEST", "DEST", "WORK", "POD", "PR"),
        *("PGHOST", "PGPORT", "DBHOST", "DBPORT", "POST"),
    }
)

Csv = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[int, Field(ge=1, le=10 * 365 * 86400)]
SecondsOrOff = Annotated[int, Field(ge=0, le=10 * 365 * 86400)]


class SessionLimitAction(StrEnum):
    """What happens when a user who has all the sessions allowed signs in once more."""

    REVOKE_OLDEST = "REVOKE_OLDEST"
    REJECT = "REJECT"


class AddressDetail(StrEnum):
    """How much of a client's address is kept with its session."""

    FULL = "full"
    MASKED = "masked"  # its network: /24 of IPv4, /48 of IPv6
    OFF = "off"


class SettingsError(Exception):
    """The environment holds a setting that cannot be used; the message names it and says why."""


class Settings(BaseSettings):
    """Every setting, its default and its unit; docs/settings.md is the same table for people."""

    # An empty variable is an unset one: `DATABASE_URL= make serve` means the default.
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=True, env_ignore_empty=True
    )

    DATABASE_URL: SecretStr | None = None
    DATABASE_POOLER: str = ""
    DATABASE_POOL_SIZE: int = Field(default=10, ge=1, le=1000)
    DATABASE_TIMEOUT: float = Field(default=5.0, ge=0.1, le=60)  # seconds
    MIGRATE_ON_START: bool = False
    LISTEN_URL: SecretStr | None = None

    JWT_SECRET: SecretStr | None = None
    JWT_ISSUER: str = Field(default="bigtwo-sessions", min_length=1, max_length=256)
    JWT_AUDIENCE: str = Field(default="bigtwo-sessions", min_length=1, max_length=256)
    JWT_CLIENT_ID: str = Field(default="bigtwo-frontend", min_length=1, max_length=256)

    HOST: str = "127.0.0.1"
    PORT: int = Field(default=8000, ge=0, le=65535)
    WORKERS: int = Field(default=1, ge=1, le=256)
    ALLOWED_ORIGINS: Csv = ()
    TRUSTED_PROXIES: Csv = ()
    SHUTDOWN_DELAY: int = Field(default=0, ge=0, le=600)  # seconds
    GRAPHIQL: bool = True
    SESSIONS_PAGE: bool = True
    GRAPHQL_INTROSPECTION: bool = True
    GRAPHQL_COMPILE_AFTER: int = Field(default=3, ge=0)  # uses by live sessions; 0 = never
    LOG_FORMAT: str = ""

    SESSION_ABSOLUTE_LIFETIME: Seconds = 30 * 86400
    SESSION_IDLE_TIMEOUT: SecondsOrOff = 14 * 86400
    SESSION_MAX_PER_USER: int = Field(default=50, ge=1, le=10_000)
    SESSION_ON_LIMIT: SessionLimitAction = SessionLimitAction.REVOKE_OLDEST
    SESSION_ACTIVITY_RESOLUTION: Seconds = 60
    SESSION_RETENTION: SecondsOrOff = 30 * 86400
    SESSION_ADDRESS: AddressDetail = AddressDetail.FULL
    SESSION_ADDRESS_RETENTION: SecondsOrOff = 30 * 86400  # 0 = as long as the session
    SESSION_EVENT_RETENTION: Seconds = 90 * 86400
    SESSION_FRESH_FOR: SecondsOrOff = 10 * 60
    SESSION_CLEANUP_INTERVAL: SecondsOrOff = 300  # 0 = this server never cleans up by itself
    SOCKETS_PER_ADDRESS: int = Field(default=2000, ge=0)  # of each process; 0 = off
    GUEST_RATE_LIMIT: int = Field(default=60, ge=0)  # per address and minute; 0 = off

    LOGIN_RATE_LIMIT: int = Field(default=600, ge=0)  # per network and ten minutes; 0 = off
    PASSWORD_MIN_LENGTH: int = Field(default=15, ge=8, le=64)
    OIDC_ISSUERS: str = ""

    @field_validator("ALLOWED_ORIGINS", "TRUSTED_PROXIES", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        """The items of a comma-separated list."""
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("ALLOWED_ORIGINS")
    @classmethod
    def exact_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """Origins as a browser spells them (RFC 6454 6.1): scheme, host, port when not default."""
        if open_to_all := {"*", "null"}.intersection(origins):
            raise ValueError(f"{listed(open_to_all)} would let every page in; list exact origins")
        if wrong := [origin for origin in origins if not is_origin(origin)]:
            raise ValueError(
                f"{listed(wrong)}: no origin as a browser sends it;"
                " write it like https://app.example.com or http://localhost:3000"
            )
        return origins

    @field_validator("TRUSTED_PROXIES")
    @classmethod
    def networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        """Addresses or networks; trusting everybody would let everybody choose an address."""
        if wrong := [proxy for proxy in proxies if not is_network(proxy)]:
            raise ValueError(f"{listed(wrong)}: no address or network like 10.1.2.3 or 10.1.0.0/16")
        if everybody := [proxy for proxy in proxies if ip_network(proxy).prefixlen == 0]:
            raise ValueError(f"{listed(everybody)} would trust every client; list your proxies")
        return proxies

    @field_validator("DATABASE_POOLER")
    @classmethod
    def known_pooler(cls, value: str) -> str:
        """Only PgBouncer's transaction mode needs to be told; session mode needs nothing."""
        if value not in {"", "transaction"}:
            raise ValueError("either unset or 'transaction'")
        return value

    @field_validator("LOG_FORMAT")
    @classmethod
    def known_format(cls, value: str) -> str:
        """Empty: for people on a terminal, JSON lines elsewhere."""
        if value not in {"", "json", "text"}:
            raise ValueError("either unset, 'json' or 'text'")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment; no files, so that one place answers what is set."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings


def listed(items: Iterable[str]) -> str:
    """Items of a list for a message, each in quotes."""
    return ", ".join(map(repr, sorted(items)))


def is_network(text: str) -> bool:
    """Whether a text is an address or a network."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def is_origin(text: str) -> bool:
    """Whether a text is an http(s) origin in the one spelling that a browser sends."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return False
    default = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    spelt = f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, default} else "")
    return text == spelt


def load() -> Settings:
    """The settings of this process's environment.

    Raises SettingsError with every name that is misspelt, unknown or holds an unusable value.
    """
    problems = misnamed(os.environ)
    try:
        loaded = Settings()
    except ValidationError as error:
        problems += [
            f"{e['loc'][0]}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        ]
    else:
        if not problems:
            return loaded
    raise SettingsError("\n".join(problems))


def misnamed(environ: Mapping[str, str]) -> list[str]:
    """What is wrong with the names in an environment; the values are never looked at."""
    ours = set(Settings.model_fields)
    return [
        f"{name} is not a setting of this server" + suggestion(name, ours)
        for name in sorted(environ.keys() - ours - OTHERS)
        if name.startswith(OUR_PREFIXES) or closest(name, ours)
    ]


def suggestion(name: str, ours: Iterable[str]) -> str:
    """A hint at the setting that a misspelt name probably means."""
    near = closest(name, ours)
    return f"; did you mean {near}?" if near else "; docs/settings.md lists them all"


def closest(name: str, ours: Iterable[str]) -> str | None:
    """Our setting within two edits of a name."""
    near = sorted((edits(name, our), our) for our in ours if abs(len(our) - len(name)) <= MAX_EDITS)
    return near[0][1] if near and near[0][0] <= MAX_EDITS else None


MAX_EDITS = 2


def edits(one: str, other: str) -> int:
    """The number of characters to insert, delete or replace to get from one to other."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
