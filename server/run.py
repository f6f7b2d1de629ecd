"""Serving: one process or several on one listening socket, until a signal ends them.

One parent owns the embedded database and the socket. With WORKERS=1 it serves by itself; with
more, uvicorn's supervisor starts them and mends those that die.
"""

import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import HANDLED_SIGNALS

from server import database, graphiql, logs, parent, screen
from server.supervisor import Supervisor
from settings import Settings

SHUTDOWN_TIMEOUT = 10  # seconds for requests under way, more than DATABASE_TIMEOUT's default
BACKLOG = 2048  # connections that wait to be accepted

MakeApp = Callable[[Settings], ASGIApp]

log = structlog.get_logger()


class StartError(Exception):
    """The server cannot start; the message tells a person why and what to do."""


def serve(settings: Settings, make_app: MakeApp, *, ends_with: int | None = None) -> None:
    """Serves until a signal ends it.

    Raises StartError, SettingsError, DatabaseError, EmbeddedError. ends_with: the process whose
    end is also ours, as `make serve` asks.
    """
    leave_in_order()
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
        run(ready, make_app, listener)


def leave_in_order() -> None:
    """Makes a signal unwind the stack, so that the embedded database is left in order.

    Until and after uvicorn serves, whose handlers shut it down. To stop when told to is no
    failure: `make` would call it an error.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        sys.exit(0)

    def hang_up(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.raise_signal(signal.SIGTERM)  # whoever handles that at the moment

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, hang_up)


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


def run(settings: Settings, make_app: MakeApp, listener: socket.socket) -> None:
    """Runs the server, or several, on a socket. Raises StartError."""
    config = uvicorn.Config(
        partial(worker, settings, make_app, os.getpid()),
        factory=True,
        workers=settings.WORKERS,
        backlog=BACKLOG,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn would trust whoever connects from loopback
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    if settings.WORKERS == 1:
        server = uvicorn.Server(config)
        for number in HANDLED_SIGNALS:  # from now on: a start that is left midway complains aloud
            signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])
        return
    supervisor = Supervisor(config, sockets=[listener])
    supervisor.run()
    if supervisor.failed:
        raise StartError("A worker could not start; the lines above say why.")


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
