"""Migrations: forth, back, alike with the models, one runner at a time."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from db import migrations
from settings import ROOT

ALEMBIC = [sys.executable, "-m", "alembic"]


def alembic(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, as an operator types it."""
    environment = os.environ | {"DATABASE_URL": url}
    return subprocess.run(
        [*ALEMBIC, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def fetch(url: str, query: str) -> list[Any]:
    """The first column of a query's rows."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [row[0] for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(run())


TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


def test_alembic_upgrade_head_makes_the_tables(empty_database_url: str) -> None:
    done = alembic(empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert fetch(empty_database_url, TABLES) == [
        "alembic_version",
        "idempotency_keys",
        "identities",
        "known_networks",
        "link_codes",
        "login_nonces",
        "rate_counts",
        "session_events",
        "user_sessions",
        "usernames",
        "users",
    ]


def test_upgrade_downgrade_and_upgrade_again(empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    migrations.downgrade(empty_database_url, "base")
    assert fetch(empty_database_url, TABLES) == ["alembic_version"]
    migrations.upgrade(empty_database_url)
    assert "user_sessions" in fetch(empty_database_url, TABLES)


def test_models_and_migrations_are_alike(database_url: str) -> None:
    checked = alembic(database_url, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_difference_between_models_and_migrations_is_noticed(database_url: str) -> None:
    fetch(database_url, "ALTER TABLE users DROP COLUMN disabled_at")
    assert alembic(database_url, "check").returncode != 0


def test_the_sql_can_be_had_without_a_database() -> None:
    printed = alembic("postgresql://nobody@127.0.0.1:1/none", "upgrade", "head", "--sql")
    assert printed.returncode == 0, printed.stderr
    assert "CREATE TABLE user_sessions" in printed.stdout


def test_at_an_unknown_revision_nothing_is_changed_and_it_says_so(database_url: str) -> None:
    fetch(database_url, "UPDATE alembic_version SET version_num = 'from_tomorrow'")
    done = alembic(database_url, "upgrade", "head")
    assert done.returncode == 0
    assert "from_tomorrow" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert fetch(database_url, "SELECT version_num FROM alembic_version") == ["from_tomorrow"]


@pytest.fixture
def ascii_url(empty_database_url: str) -> Iterator[str]:
    """A database that does not know what its text means."""
    (name,) = fetch(empty_database_url, "SELECT current_database()")
    how = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    fetch(empty_database_url, f"CREATE DATABASE {name}_ascii {how}")
    yield empty_database_url.replace(name, f"{name}_ascii")
    fetch(empty_database_url, f"DROP DATABASE {name}_ascii WITH (FORCE)")


def test_a_database_of_another_encoding_is_refused(ascii_url: str) -> None:
    done = alembic(ascii_url, "upgrade", "head")
    assert done.returncode == 1
    assert "SQL_ASCII" in done.stderr
    assert "createdb --encoding=UTF8 --template=template0" in done.stderr
    assert "Traceback" not in done.stderr
    assert fetch(ascii_url, TABLES) == []


async def test_a_database_of_another_encoding_is_not_ready(ascii_url: str, start_app: Any) -> None:
    client = await start_app(DATABASE_URL=SecretStr(ascii_url))
    ready = await client.http.get("/readyz")
    assert ready.status_code == 503
    assert "--encoding=UTF8" in ready.json()["checks"]["encoding"]
    well = await (await start_app()).http.get("/readyz")
    assert well.json()["checks"]["encoding"] == "ok"


async def test_two_runners_at_once_both_succeed(empty_database_url: str) -> None:
    async def run() -> int:
        process = await asyncio.create_subprocess_exec(
            *ALEMBIC, "upgrade", "head",
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": empty_database_url},
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await process.wait()

    assert list(await asyncio.gather(run(), run(), run())) == [0, 0, 0]


async def test_a_table_that_is_in_use_fails_the_migration_instead_of_blocking_everybody(
    database_url: str, db: Any
) -> None:
    async with db.transaction():
        await db.execute("SELECT count(*) FROM users")
        process = await asyncio.create_subprocess_exec(
            *ALEMBIC, "downgrade", "base",
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database_url},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, complaint = await process.communicate()
    assert process.returncode != 0
    assert b"lock timeout" in complaint
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 0


def test_without_a_database_the_command_says_what_to_do() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    done = subprocess.run(
        [*ALEMBIC, "upgrade", "head"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "export DATABASE_URL=" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_migrations_folder_never_shadows_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("revision", "suits"),
    [(None, False), ("0001", False), (migrations.known()[0], True), ("from_tomorrow", True)],
)
def test_which_revisions_suit_this_code(revision: str | None, suits: bool) -> None:
    assert migrations.is_migrated(revision) is suits
