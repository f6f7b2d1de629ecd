"""Several workers under one parent, which keeps the listening socket and serves nobody itself."""

import signal
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from socket import socket
from types import FrameType

import structlog
from uvicorn.config import STARTUP_FAILURE

from server import parent
from server.leaving import SAME
from server.roll import Roll
from server.worker import Worker, starting

TICK = 0.1  # seconds
RETRY = 2.0  # seconds from the start of a worker that never served to the start of the next

log = structlog.get_logger()


class Supervisor:
    """Starts workers, mends those that die, rolls, and stops when the first ones cannot start.

    patience: seconds that workers are given to leave; hangs_up: whether SIGHUP means the end.
    """

    def __init__(
        self,
        start: Callable[[], Worker],
        listener: socket,
        *,
        patience: float,
        hangs_up: Callable[[], bool],
    ) -> None:
        self.failed = False
        self._start = start
        self._listener = listener
        self._patience = patience
        self._hangs_up = hangs_up
        self._workers: list[Worker] = []
        self._roll: Roll | None = None
        self._has_served = False
        self._told_at: list[float] = []
        self._is_hung_up = False

    def run(self, count: int) -> None:
        """Serves with so many workers until a signal ends it, or none can start."""
        self._take_signals()
        with starting():
            resource_tracker.ensure_running()  # lets Ctrl-C through again when it has started
        self._workers += [self._start() for _ in range(count)]
        while not self._told_at and not self.failed:
            time.sleep(TICK)
            self._look_after()
            self._roll_on()
        self._stop()

    def _take_signals(self) -> None:
        def told(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._told_at.append(time.monotonic())

        def hung_up(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._is_hung_up = True

        signal.signal(signal.SIGTERM, told)
        signal.signal(signal.SIGINT, told)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(signal.SIGHUP, hung_up)

    def _look_after(self) -> None:
        """Puts a new worker into the place of each that died or hangs."""
        for place, worker in enumerate(self._workers):
            if not worker.is_well():
                self._replace(place, worker)
            self._has_served = self._has_served or worker.is_ready

    def _replace(self, place: int, worker: Worker) -> None:
        if worker.exitcode == STARTUP_FAILURE and not self._has_served:
            self.failed = True
        elif worker.is_ready or time.monotonic() - worker.started_at > RETRY:
            worker.kill()
            new = self._workers[place] = self._start()
            log.warning("worker_replaced", worker=worker.pid, exitcode=worker.exitcode, by=new.pid)

    def _roll_on(self) -> None:
        if self._is_hung_up and self._hangs_up():
            parent.is_gone.set()
            signal.raise_signal(signal.SIGTERM)
        elif self._is_hung_up and not self._roll:
            self._is_hung_up = False  # asked again from now on, it rolls once more
            self._roll = Roll(self._workers, self._start)
        if self._roll:
            self._roll.advance()
            self._roll = None if self._roll.is_over else self._roll

    def _stop(self) -> None:
        """Stops listening, and waits for the workers to leave."""
        self._listener.close()
        everyone = self._workers + (self._roll.others if self._roll else [])
        for worker in everyone:
            worker.relieve() if parent.is_gone.is_set() else worker.leave()
        end = time.monotonic() + self._patience
        while not all(worker.has_ended for worker in everyone):
            if self._is_told_again() or time.monotonic() > end:
                for worker in everyone:
                    worker.kill()
            time.sleep(TICK)

    def _is_told_again(self) -> bool:
        return bool(self._told_at) and self._told_at[-1] - self._told_at[0] >= SAME
