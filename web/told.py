"""What sockets and streams tell the log and the figures, as the HTTP answers do."""

import time

import structlog
from graphql import ExecutionResult

from auth.errors import Refused, Unauthenticated
from context import Services
from web.bounded import Bounded
from web.failures import where
from web.refusals import HttpRefused, as_refused, internal_error, write_down

TOO_MANY_REQUESTS = 429  # and what follows: the same may succeed later

log = structlog.get_logger()
refusals = Bounded("refusals_not_logged")
failures = Bounded("failures_not_logged")


def refusal_of(error: Exception) -> Refused:
    """What an exception stands for; written down, unless it is about what a client sent."""
    refused = as_refused(error)
    if refused is None:
        if failures.admits_one():
            log.error("request_failed", **where(error))
        return internal_error()
    if not isinstance(refused, HttpRefused | Unauthenticated):
        write_refusal(refused, error)
    return refused


def note_passing(result: ExecutionResult) -> None:
    """Writes down that something passing was in the way."""
    for error in result.errors or ():
        refused = as_refused(error.original_error)
        if refused and refused.status >= TOO_MANY_REQUESTS:
            write_refusal(refused, error.original_error or error)
            return


def write_refusal(refused: Refused, error: BaseException) -> None:
    """One line, at a bounded rate."""
    if refusals.admits_one():
        write_down(refused, error)


def note_latency(services: Services, refused: Unauthenticated) -> None:
    """Counts how long a revoked session has still had what is closed now."""
    if refused.revoked_at:
        now = time.time() + (services.clock.offset or 0.0)
        services.live.latency.note(max(0.0, now - refused.revoked_at.timestamp()))
