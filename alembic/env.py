"""Runs the migrations: of `alembic upgrade head`, `make migrate` and the embedded database.

One runner at a time (an advisory lock of the transaction, so that it works behind a pooler too).
A migration that cannot get its lock within seconds fails and is tried again later, instead of
making every request queue behind it.
"""

import asyncio
import sys

from alembic import context
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

import settings
from db import maintenance
from db.engine import make_engine
from db.models import Base
from db.url import DatabaseUrlError

MIGRATION_LOCK = 0x62_69_67_33  # "big3": whoever else migrates waits for this
WAIT_FOR_RUNNER = "60s"
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "300s"
CONNECT_TIMEOUT = 10.0  # seconds


def database_url() -> str:
    """The URL handed over by the caller, else DATABASE_URL."""
    if url := context.config.attributes.get("url"):
        return str(url)
    try:
        url = settings.load().DATABASE_URL
    except settings.SettingsError as error:
        sys.exit(f"{error}")
    if url is None:
        sys.exit(
            "DATABASE_URL is not set; the embedded database is migrated by `make serve` itself.\n"
            "  export DATABASE_URL=postgresql://user:password@host/database"
        )
    return url.get_secret_value()


def pooler() -> str:
    """Whether PgBouncer stands between: it takes no settings with the connection."""
    try:
        return settings.load().DATABASE_POOLER
    except settings.SettingsError:
        return ""  # whoever handed the URL over has judged the settings


def newer_revisions(connection: Connection) -> set[str]:
    """The revisions that the database is at and this code does not know."""
    context.configure(connection=connection, target_metadata=Base.metadata)
    current = set(context.get_context().get_current_heads())
    scripts = ScriptDirectory.from_config(context.config)
    return current - {script.revision for script in scripts.walk_revisions()}


def refuse_other_encodings(connection: Connection) -> None:
    """Exits, with what to do, unless the database's text is Unicode."""
    found = connection.execute(text("SHOW server_encoding")).scalar_one()
    if found != maintenance.ENCODING:
        sys.exit(
            f"The database's encoding is {found}; only {maintenance.ENCODING} will do.\n"
            f"  {maintenance.HOW_TO_CREATE}"
        )


def migrate(connection: Connection) -> None:
    """Runs what Alembic was asked for, in one transaction."""
    refuse_other_encodings(connection)
    for setting, value in (
        ("lock_timeout", WAIT_FOR_RUNNER),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
    ):
        connection.execute(text(f"SET LOCAL {setting} = '{value}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    if newer := newer_revisions(connection):
        print(  # noqa: T201 - the answer to who typed the command
            f"The database is at {', '.join(sorted(newer))}, which this code does not know:"
            " a newer release migrated it. Nothing was changed.",
            file=sys.stderr,
        )
        return
    with context.begin_transaction():
        context.run_migrations()


async def online() -> None:
    """Connects and migrates."""
    try:
        engine = make_engine(
            database_url(), timeout=CONNECT_TIMEOUT, pooler=pooler(), poolclass=NullPool
        )
    except DatabaseUrlError as error:
        sys.exit(f"{error}")
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


def offline() -> None:
    """Prints the SQL, for who may not connect: `alembic upgrade head --sql`."""
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    offline()
else:
    asyncio.run(online())
