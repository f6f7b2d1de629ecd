"""Serving: one process or several on one listening socket, until a signal ends them.

One parent owns the embedded database and the socket. With WORKERS=1 it serves by itself; with
more, a supervisor starts them, mends those that die, and replaces them all when it is asked to.
"""

import errno
import gc
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NoReturn

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import HANDLED_SIGNALS

from server import database, graphiql, logs, parent, screen, websocket
from server.hangup import Terminal
from server.http import Protocol
from server.leaving import SHUTDOWN_TIMEOUT, OnlyServer, Server
from server.supervisor import Supervisor
from server.worker import RELIEVE, Worker, beat
from settings import Settings

MAX_FILES = 65_536
# Looking for circles costs 5 to 10 % of a request at the default of 700 new objects, and finds few.
GC_THRESHOLDS = (20_000, 20, 100)
BACKLOG = 2048  # connections that wait to be accepted
PATIENCE = 20  # seconds, beyond what leaving is known to take, until a worker is killed

MakeApp = Callable[[Settings], ASGIApp]

log = structlog.get_logger()


class StartError(Exception):
    """The server cannot start; the message tells a person why and what to do."""


def serve(settings: Settings, make_app: MakeApp, *, ends_with: int | None = None) -> None:
    """Serves until a signal ends it.

    Raises StartError, SettingsError, DatabaseError, EmbeddedError. ends_with: the process whose
    end is also ours, as `make serve` asks.
    """
    terminal = Terminal()
    leave_in_order(lambda: ends_with is not None or terminal.is_gone())
    allow_many_sockets()
    if ends_with is not None:
        parent.end_with(ends_with)
    logs.configure(settings.LOG_FORMAT)
    database.refuse_unusable(settings)
    with (
        closing(listen(settings.HOST, settings.PORT)) as listener,
        database.for_serving(settings) as (ready, data),
        graphiql.fetched(graphiql.missing(settings)),
    ):
        host, port = listener.getsockname()[:2]
        screen.show(ready, host, port, data)
        run(ready, make_app, listener, terminal, for_make=ends_with is not None)


def leave_in_order(hangs_up: Callable[[], bool]) -> None:
    """Makes a signal unwind the stack, so that the embedded database is left in order.

    Until it serves, when other handlers take over. To stop when told to is no failure: `make`
    would call it an error. hangs_up: whether SIGHUP means the end; else it comes too early, for
    what is starting is new.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        sys.exit(0)

    def hang_up(number: int, frame: FrameType | None) -> None:
        del number, frame
        if hangs_up():
            signal.raise_signal(signal.SIGTERM)  # whoever handles that at the moment

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, hang_up)


def allow_many_sockets() -> None:
    """Takes as many open files as the system grants: the usual 1,024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, before anything is started. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its full name, or asyncio lets the kernel hold answers back until the last one's ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        advice = (
            f"Choose another port, for example:  PORT={8001 + port % 1000} make serve"
            if error.errno in {errno.EADDRINUSE, errno.EACCES}
            else "HOST must be an address of this machine, or 0.0.0.0 or :: for all of them."
        )
        raise StartError(
            f"Cannot listen on {host}, port {port}: {error.strerror}.\n{advice}"
        ) from error
    return listener


def run(
    settings: Settings,
    make_app: MakeApp,
    listener: socket.socket,
    terminal: Terminal,
    *,
    for_make: bool,
) -> None:
    """Runs the server, or several, on a socket. Raises StartError."""
    if settings.WORKERS == 1:
        # make was told to hang up, too, and waits for us.
        run_alone(settings, make_app, listener, lambda: for_make or terminal.is_gone())
        return
    serve_below = partial(run_below, given(settings), make_app, os.getpid())
    supervisor = Supervisor(
        partial(Worker, serve_below, listener),
        listener,
        patience=settings.SHUTDOWN_DELAY + SHUTDOWN_TIMEOUT + settings.DATABASE_TIMEOUT + PATIENCE,
        hangs_up=terminal.is_gone,
    )
    supervisor.run(settings.WORKERS)
    if supervisor.failed:
        raise StartError("A worker could not start; the lines above say why.")


def run_alone(
    settings: Settings,
    make_app: MakeApp,
    listener: socket.socket,
    hangs_up: Callable[[], bool],
) -> None:
    """Serves in this process."""
    config = make_config(settings, make_app, os.getpid())
    server = OnlyServer(config, delay=settings.SHUTDOWN_DELAY, hangs_up=hangs_up)
    for number in HANDLED_SIGNALS:  # from now on: a start that is left midway complains aloud
        signal.signal(number, server.handle_exit)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.hang_up)
    server.run(sockets=[listener])


def run_below(
    values: dict[str, Any],
    make_app: MakeApp,
    parent_pid: int,
    listener: socket.socket,
    pipe: Connection,
) -> None:
    """Serves in a worker, which may have been started from newer code than its parent."""
    settings = Settings(**values)
    config = make_config(settings, make_app, parent_pid)
    server = Server(config, delay=settings.SHUTDOWN_DELAY)
    signal.signal(RELIEVE, server.relieve)
    threading.Thread(target=beat, args=(server, pipe), name="beat", daemon=True).start()
    server.run(sockets=[listener])


def given(settings: Settings) -> dict[str, Any]:
    """What was set: where newer code has more settings, their defaults are its own."""
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def make_config(settings: Settings, make_app: MakeApp, parent_pid: int) -> uvicorn.Config:
    """How uvicorn serves."""
    return uvicorn.Config(
        partial(worker, settings, make_app, parent_pid),
        factory=True,
        backlog=BACKLOG,
        http=Protocol,
        ws=websocket.WebSocket,
        **websocket.OPTIONS,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn would trust whoever connects from loopback
        server_header=False,
    )


def worker(settings: Settings, make_app: MakeApp, parent_pid: int) -> ASGIApp:
    """The application of one process; called in that process, after it was started."""
    logs.configure(settings.LOG_FORMAT)
    if os.getpid() != parent_pid:
        parent.end_with(parent_pid)
    try:
        application = make_app(settings)
    except Exception:
        log.exception("cannot_start")
        sys.exit(STARTUP_FAILURE)
    set_aside()
    return application


def set_aside() -> None:
    """Spares the garbage collector what stays anyway: a full look at it would take 100 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
