"""One worker: a process that serves, as its parent sees it."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from socket import socket

from uvicorn import Server

HEALTHCHECK_TIMEOUT = 30  # seconds without a beat: hung, not merely starting on a busy machine
BEAT, FIRST_BEATS = 1.0, 0.1  # seconds between two, when it serves and before
RELIEVE = signal.SIGUSR1  # leave at once, others serve on

SPAWN = multiprocessing.get_context("spawn")  # imports the code anew, as it is on the disk then

Serve = Callable[[socket, Connection], None]


class Worker:
    """A process that was started to serve on a socket, and beats as long as it is well."""

    def __init__(self, serve: Serve, listener: socket) -> None:
        self._beats, theirs = SPAWN.Pipe(duplex=False)
        self._process = SPAWN.Process(target=serve, args=(listener, theirs))
        with starting():
            self._process.start()
        theirs.close()
        self.is_ready = False  # and was, until it ends
        self.started_at = self._heard_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Its process's id."""
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        """How it ended; None while it has not."""
        return self._process.exitcode

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.exitcode is not None

    def is_well(self) -> bool:
        """Whether it lives and has beaten lately."""
        with suppress(EOFError, OSError):  # it has ended, and that is what counts
            while self._beats.poll():
                self.is_ready = self._beats.recv()
                self._heard_at = time.monotonic()
        return not self.has_ended and time.monotonic() - self._heard_at < HEALTHCHECK_TIMEOUT

    def leave(self) -> None:
        """Tells it to leave, as the whole server does."""
        self._tell(signal.SIGTERM)

    def relieve(self) -> None:
        """Tells it to leave, because another one has come."""
        self._tell(RELIEVE if self.is_ready else signal.SIGTERM)

    def _tell(self, number: int) -> None:
        if self.pid and not self.has_ended:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it without further ado."""
        self._process.kill()
        self._process.join()


def beat(server: Server, pipe: Connection) -> None:
    """In the worker, a thread of its own: tells the parent that it lives, and whether it serves."""
    with suppress(OSError):  # the parent is gone: server/parent.py looks after that
        while True:
            pipe.send(server.started)
            time.sleep(BEAT if server.started else FIRST_BEATS)


@contextmanager
def starting() -> Iterator[None]:
    """Keeps a terminal's signals from what is started: the parent gets them too, and stops it.

    A worker that is still importing would die of Ctrl-C aloud.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
