"""Lines that strangers can cause as often as they like: at most so many of them are written."""

import time

import structlog

LINES_PER_SECOND = 10  # an attacker must not write our disk full

log = structlog.get_logger()


class Bounded:
    """Says which lines of a kind are written, and before a later one how many were left out."""

    def __init__(self, omission: str) -> None:
        self._omission = omission  # the event that tells of those left out
        self._second = 0
        self._written = 0
        self._left_out = 0

    def admits_one(self) -> bool:
        """Whether one more line may be written now; every line is asked for once."""
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                log.warning(self._omission, count=self._left_out)
            self._second, self._written, self._left_out = second, 0, 0
        if self._written >= LINES_PER_SECOND:
            self._left_out += 1
            return False
        self._written += 1
        return True
