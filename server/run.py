"""Serving: the database and the secret that there are, then one process or several.

One parent owns the embedded database and the listening socket. With WORKERS=1 it serves by
itself; with more, uvicorn's supervisor starts them and mends those that die.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from types import FrameType
from typing import NoReturn

import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from auth import keys
from db import embedded, migrations
from db.url import without_password
from server import logs, parent, screen, secret
from settings import ROOT, STATE, Settings
from web import pages

SHUTDOWN_TIMEOUT = 10  # seconds for requests under way, more than DATABASE_TIMEOUT's default
FETCH_GRAPHIQL = ROOT / "tools" / "fetch_graphiql.py"

MakeApp = Callable[[Settings], ASGIApp]


class StartError(Exception):
    """The server cannot start; the message tells a person why and what to do."""


def serve(settings: Settings, make_app: MakeApp, *, ends_with: int | None = None) -> None:
    """Serves until a signal ends it. Raises StartError, EmbeddedError, WeakSecretError.

    ends_with: the process whose end is also ours, as `make serve` asks.
    """
    on_signal_exit()
    if ends_with is not None:
        parent.end_with(ends_with)
    logs.configure(settings.LOG_FORMAT)
    with closing(listen(settings.HOST, settings.PORT)) as listener, database(settings) as ready:
        make_app(ready)  # bad settings fail here, once, before any process is started
        run(ready, make_app, listener)


def on_signal_exit() -> None:
    """Makes SIGTERM unwind the stack, so that the embedded database is left in order.

    uvicorn puts our handlers back and raises the signal again when it has shut down.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        sys.exit(0 if number == signal.SIGTERM else 128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, bound before anything is started. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise StartError(
            f"Cannot listen on {host}:{port}: {error}\n"
            "  choose another one, for example:  PORT=8001 make serve"
        ) from error
    return listener


@contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """The settings with a database and a secret: those that are set, else our own."""
    if settings.DATABASE_URL is not None:
        if settings.JWT_SECRET is None:
            raise StartError(
                "JWT_SECRET is not set. With a DATABASE_URL there is no default:\n"
                f"  {keys.HOW_TO_MAKE_ONE}, then  export JWT_SECRET=…"
            )
        if settings.MIGRATE_ON_START:
            migrations.upgrade(settings.DATABASE_URL.get_secret_value())
        yield settings
        return
    with closing_embedded() as own:
        migrations.upgrade(own.url)
        secret_text = settings.JWT_SECRET or SecretStr(secret.kept(own.secret_file))
        yield settings.model_copy(
            update={"DATABASE_URL": SecretStr(own.url), "JWT_SECRET": secret_text}
        )


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The database that a command works on: the one that is set, else our own, migrated."""
    if settings.DATABASE_URL is not None:
        yield settings.DATABASE_URL.get_secret_value()
        return
    with closing_embedded() as own:
        migrations.upgrade(own.url)
        yield own.url


@contextmanager
def closing_embedded() -> Iterator[embedded.Embedded]:
    """The embedded database, for as long as the block lasts."""
    own = embedded.join(STATE)
    try:
        yield own
    finally:
        own.leave()


def run(settings: Settings, make_app: MakeApp, listener: socket.socket) -> None:
    """Runs the server, or several, on a socket."""
    config = uvicorn.Config(
        partial(worker, settings, make_app, os.getpid()),
        factory=True,
        workers=settings.WORKERS,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn would trust whoever connects from loopback
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    host, port = listener.getsockname()[:2]
    screen.show(settings, host, port, without_password(secret_of(settings)))
    fetcher = fetch_graphiql() if settings.GRAPHIQL else None
    try:
        if settings.WORKERS > 1:
            listener.listen(config.backlog)
            Multiprocess(config, sockets=[listener]).run()
        else:
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        if fetcher is not None:
            fetcher.terminate()
            fetcher.wait()


def secret_of(settings: Settings) -> str:
    """The database's URL, for without_password."""
    return settings.DATABASE_URL.get_secret_value() if settings.DATABASE_URL else ""


def worker(settings: Settings, make_app: MakeApp, parent_pid: int) -> ASGIApp:
    """The application of one process; called in that process, after it was started."""
    logs.configure(settings.LOG_FORMAT)
    if os.getpid() != parent_pid:
        parent.end_with(parent_pid)
    return make_app(settings)


def fetch_graphiql() -> subprocess.Popen[bytes] | None:
    """Fetches GraphiQL's files, if they are not there; our own console answers till then."""
    if pages.installed():
        return None
    return subprocess.Popen([sys.executable, FETCH_GRAPHIQL])  # noqa: S603 - our own program
