"""What sockets and streams tell the log and the figures, as the HTTP answers do."""

import time

from graphql import ExecutionResult

from auth.errors import Refused, Unauthenticated
from context import Services
from web.failures import LastResort
from web.refusals import HttpRefused, as_refused

TOO_MANY_REQUESTS = 429  # and what follows: the same may succeed later

last_resort = LastResort()


def refusal_of(error: Exception) -> Refused:
    """What an exception stands for; written down, unless it is about what a client sent."""
    refused = as_refused(error)
    if isinstance(refused, HttpRefused | Unauthenticated):
        return refused
    return last_resort.refusal(error, refused)


def note_passing(result: ExecutionResult) -> None:
    """Writes down that something passing was in the way."""
    for error in result.errors or ():
        refused = as_refused(error.original_error)
        if refused and refused.status >= TOO_MANY_REQUESTS:
            write_refusal(refused, error.original_error or error)
            return


def write_refusal(refused: Refused, error: BaseException) -> None:
    """One line, at a bounded rate."""
    last_resort.write(refused, error)


def note_latency(services: Services, refused: Unauthenticated) -> None:
    """Counts how long a revoked session has still had what is closed now."""
    if refused.revoked_at:
        now = time.time() + (services.clock.offset or 0.0)
        services.live.latency.note(max(0.0, now - refused.revoked_at.timestamp()))
