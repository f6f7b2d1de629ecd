"""Migrations, run from code: what `alembic upgrade head` does from the command line."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def upgrade(url: str, revision: str = "head") -> None:
    """Migrates the database at this DATABASE_URL; at a newer revision than ours it says so only.

    Runs an event loop of its own: not to be called where one runs.
    """
    config = Config(toml_file=PYPROJECT)
    config.attributes["url"] = url
    command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Takes the database at this DATABASE_URL back to a revision."""
    config = Config(toml_file=PYPROJECT)
    config.attributes["url"] = url
    command.downgrade(config, revision)


@cache
def known() -> tuple[str, frozenset[str]]:
    """This code's newest revision, and all that it knows."""
    scripts = ScriptDirectory.from_config(Config(toml_file=PYPROJECT))
    head = scripts.get_current_head()
    if head is None:
        raise RuntimeError("alembic/versions is missing or has two heads")
    return head, frozenset(script.revision for script in scripts.walk_revisions())


def is_migrated(revision: str | None) -> bool:
    """Whether a database at this revision suits this code.

    One that we do not know was left there by a newer release, whose migrations keep the release
    before it working: that is how a rolling upgrade looks from the old side.
    """
    head, revisions = known()
    return revision is not None and (revision == head or revision not in revisions)
