"""Who is compared: how each is installed, started and spoken to."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import environments
from dialects import GRAPHQL, OPERATIONS, BetterAuth, Dialect, Rest, Static

UVICORN = "-m uvicorn app:app --host 127.0.0.1 --port {port} --loop uvloop --http httptools"
QUIET = "--no-access-log --log-level warning"


@dataclass(frozen=True)
class Contender:
    """One server: `install` answers the program that runs it, `words` follow that."""

    name: str
    what: str
    install: Callable[[str], Path]
    words: str
    speaks: Dialect = GRAPHQL
    operations: tuple[str, ...] = OPERATIONS
    rows: str = "ours"  # whose tables it reads: ours, its own, none

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return environments.ROOT if self.name == "ours" else environments.STATE / self.name


def ourselves(name: str) -> Path:
    """The Python that runs this: our application needs no other environment."""
    del name
    return Path(sys.executable)


PYTHON, NODE, GO = environments.install_python, environments.install_node, environments.install_go

LINEUP = (
    Contender("ours", "this server, as `python app.py serve` runs it", ourselves, "app.py serve"),
    Contender(
        "straightforward",
        "Strawberry, AsyncSession, ORM, PyJWT",
        PYTHON,
        f"{UVICORN} {QUIET}",
    ),
    Contender(
        "starlette-rest",
        "Starlette, PyJWT, asyncpg; no GraphQL",
        PYTHON,
        f"{UVICORN} {QUIET}",
        Rest(),
    ),
    Contender(
        "starlette-bare",
        "Starlette, static JSON: checks nothing, for scale",
        PYTHON,
        f"{UVICORN} {QUIET}",
        Static(),
        operations=("viewer",),
        rows="none",
    ),
    Contender("node-http", "node:http, jose, pg; no GraphQL", NODE, "server.mjs", Rest()),
    Contender("mercurius", "Fastify, Mercurius (jit), jose, pg", NODE, "server.mjs"),
    Contender("yoga", "GraphQL Yoga, jose, pg", NODE, "server.mjs"),
    Contender("apollo", "Apollo Server, jose, pg", NODE, "server.mjs"),
    Contender("go-rest", "net/http, pgx, golang-jwt; no GraphQL", GO, "", Rest()),
    Contender(
        "better-auth",
        "its own tables, looked up on every request; no GraphQL",
        NODE,
        "server.mjs",
        BetterAuth(),
        rows="own",
    ),
    Contender(
        "fastapi-users",
        "its database strategy; no GraphQL",
        PYTHON,
        f"{UVICORN} {QUIET}",
        Rest(created='"token"'),
        rows="own",
    ),
    Contender(
        "django-sessions",
        "sessions in the database, gunicorn with ten threads; no GraphQL",
        PYTHON,
        "-m gunicorn wsgi --bind 127.0.0.1:{port} --worker-class gthread --threads 10"
        " --keep-alive 30 --log-level warning",
        Rest(cookie="sessionid", created='"session"'),
        rows="own",
    ),
)


def chosen(names: str) -> list[Contender]:
    """Those of a comma-separated list; all without one."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := set(wanted) - {contender.name for contender in LINEUP}:
        raise SystemExit(f"no such contender: {', '.join(sorted(unknown))}")
    return [contender for contender in LINEUP if not wanted or contender.name in wanted]
