"""A rolling restart: workers are replaced one after another, and none leaves before another serves.

All share the parent's listening socket, so a connection that one of them has not accepted waits for
the others.
"""

import time
from collections.abc import Callable

import structlog

from server.worker import Worker

START_TIMEOUT = 60  # seconds until a new worker must serve
LEAVE_TIMEOUT = 60  # seconds for an old one, which is then killed

log = structlog.get_logger()


class Roll:
    """Replaces the workers in a list, in place."""

    def __init__(self, workers: list[Worker], start: Callable[[], Worker]) -> None:
        self.is_over = False
        self._workers = workers
        self._start = start
        self._old = list(workers)
        self._new: Worker | None = None
        self._leaving: Worker | None = None
        self._left_at = 0.0

    @property
    def others(self) -> list[Worker]:
        """Those that are not in the list: not yet, or not any more."""
        return [one for one in (self._new, self._leaving) if one]

    def advance(self) -> None:
        """Does what can be done without waiting."""
        if self._leaving:
            self._await_end(self._leaving)
        elif self._new:
            self._await_start(self._new)
        elif any(one in self._workers for one in self._old):
            self._new = self._start()
        else:
            self.is_over = True
            log.info("rolled", workers=[one.pid for one in self._workers])

    def _await_end(self, worker: Worker) -> None:
        if not worker.has_ended and time.monotonic() - self._left_at > LEAVE_TIMEOUT:
            worker.kill()
        if worker.has_ended:
            self._leaving = None

    def _await_start(self, worker: Worker) -> None:
        """Puts it into the place of an old one once it serves; gives up if it will not."""
        is_late = time.monotonic() - worker.started_at > START_TIMEOUT
        if not worker.is_well() or (is_late and not worker.is_ready):
            self._give_up(worker)
        elif worker.is_ready:
            self._new = None
            self._relieve_one(worker)

    def _relieve_one(self, by: Worker) -> None:
        old = next((one for one in self._old if one in self._workers), None)
        if old is None:  # what was to be replaced died meanwhile, and was: there is one too many
            old = by
        else:
            self._workers[self._workers.index(old)] = by
            self._old.remove(old)
            log.info("worker_relieved", worker=old.pid, by=by.pid)
        old.relieve()
        self._leaving, self._left_at = old, time.monotonic()

    def _give_up(self, worker: Worker) -> None:
        worker.kill()
        log.error(
            "roll_stopped",
            worker=worker.pid,
            exitcode=worker.exitcode,
            workers=[one.pid for one in self._workers],
            hint="The new worker does not start: the lines above say why. These serve on.",
        )
        self._new = None
        self.is_over = True
