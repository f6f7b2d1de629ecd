"""Several workers under one parent: uvicorn's supervisor, made fit for a terminal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from socket import socket

import structlog
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

log = structlog.get_logger()

HEALTHCHECK_TIMEOUT = 30  # seconds without an answer: hung, not merely starting on a busy machine


class Supervisor(Multiprocess):
    """Starts workers, mends those that die, and stops when one cannot start."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        config.timeout_worker_healthcheck = HEALTHCHECK_TIMEOUT
        super().__init__(config, sockets)

    @property
    def failed(self) -> bool:
        """Whether a worker that could not start is why it stopped."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)

    def init_processes(self) -> None:
        """Starts the workers."""
        with starting():
            resource_tracker.ensure_running()  # lets Ctrl-C through again when it has started
        with starting():
            super().init_processes()
        self.notice_ends()

    def keep_subprocess_alive(self) -> None:
        """Looks after them, twice a second."""
        before = list(self.processes)
        with starting():
            super().keep_subprocess_alive()
        self.notice_ends()
        for old, new in zip(before, self.processes, strict=True):
            if new is not old:
                log.warning("worker_replaced", worker=old.pid, exitcode=old.exitcode, by=new.pid)

    def notice_ends(self) -> None:
        """Lets a worker's end be seen at once: our copy of its end of the pipe would hide it."""
        for process in self.processes:
            process.child_conn.close()

    def handle_hup(self) -> None:
        """A closed terminal ends everything, instead of starting the workers anew."""
        self.handle_term()

    def terminate_all(self) -> None:
        """Stops listening before the workers end: nobody may connect and wait for nothing."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


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
