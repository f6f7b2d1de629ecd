"""The database and the secret that the server works with: those that are set, else our own."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from auth import keys, oidc
from db import embedded, migrations
from db.url import DatabaseUrlError, connect_arguments, without_password
from server import secret
from settings import STATE, Settings, SettingsError


class DatabaseError(Exception):
    """The database cannot be brought to this code's revision; the message says why."""


def refuse_unusable(settings: Settings) -> None:
    """Looks at URL, secret and providers before anything is started. Raises SettingsError."""
    problems = []
    url, key = settings.DATABASE_URL, settings.JWT_SECRET
    try:
        if url is not None:
            connect_arguments(url.get_secret_value(), timeout=settings.DATABASE_TIMEOUT)
    except DatabaseUrlError as error:
        problems.append(str(error))
    try:
        if settings.LISTEN_URL is not None:
            connect_arguments(settings.LISTEN_URL.get_secret_value(), timeout=1)
    except DatabaseUrlError as error:
        problems.append(str(error).replace("DATABASE_URL", "LISTEN_URL"))
    try:
        if key is not None:
            keys.refuse_weak(key.get_secret_value())
        elif url is not None:
            problems.append(
                f"JWT_SECRET is not set, and with a DATABASE_URL has no default;"
                f" {keys.HOW_TO_MAKE_ONE}"
            )
    except keys.WeakSecretError as error:
        problems.append(str(error))
    try:
        oidc.parse_issuers(settings.OIDC_ISSUERS)
    except ValueError as error:
        problems.append(f"OIDC_ISSUERS: {error}")
    if problems:
        raise SettingsError("\n".join(problems))


@contextmanager
def for_serving(settings: Settings) -> Iterator[tuple[Settings, str]]:
    """The settings with a database and a secret, and where the data are, for a person to read."""
    if settings.DATABASE_URL is not None:
        url = settings.DATABASE_URL.get_secret_value()
        if settings.MIGRATE_ON_START:
            migrate(url)
        yield settings, without_password(url)
        return
    with joined() as own:
        key = settings.JWT_SECRET or SecretStr(secret.kept(own.secret_file))
        update = {"DATABASE_URL": SecretStr(own.url), "JWT_SECRET": key}
        yield settings.model_copy(update=update), str(own.folder)


def bus_url(settings: Settings, url: str) -> str | None:
    """Where processes tell each other of changes; None where only a pooler is known.

    Behind PgBouncer in transaction mode nobody can listen: it would give the connection away.
    """
    if settings.LISTEN_URL is not None:
        return settings.LISTEN_URL.get_secret_value()
    return None if settings.DATABASE_POOLER else url


@contextmanager
def for_command(settings: Settings) -> Iterator[str]:
    """The URL of the database that a command works on."""
    if settings.DATABASE_URL is not None:
        yield settings.DATABASE_URL.get_secret_value()
        return
    with joined() as own:
        yield own.url


@contextmanager
def joined() -> Iterator[embedded.Embedded]:
    """The embedded database, migrated, for as long as the block lasts."""
    own = embedded.join(STATE)
    try:
        migrate(own.url)
        yield own
    finally:
        own.leave()


def migrate(url: str) -> None:
    """Migrates; says in one line what kept it from that. Raises DatabaseError."""
    try:
        migrations.upgrade(url)
    except (OSError, SQLAlchemyError) as error:
        # Without the statement: SQLAlchemy's own text would quote it at length.
        cause = error.orig if isinstance(error, DBAPIError) else error
        why = f"{cause}" or type(cause).__name__  # a timeout has no text
        raise DatabaseError(f"The database cannot be migrated: {why}") from error
