"""Writes down, once a second, what sessions did; and a last time at shutdown."""

import asyncio

import structlog

from context import Services
from db.engine import Unavailable

INTERVAL = 1.0  # seconds; db.sessions.AHEAD allows for it
PATIENCE = 60  # writes that fail in a row between two lines about that

log = structlog.get_logger()


async def keep_noting(services: Services) -> None:
    """Writes for ever; ends by being cancelled, and by nothing else."""
    failures = 0
    while True:
        await asyncio.sleep(INTERVAL)
        error = await write_down(services)
        if error and failures % PATIENCE == 0:
            log.warning("activity_waits", count=len(services.activity), error=error)
        failures = failures + 1 if error else 0


async def write_down(services: Services) -> str | None:
    """Writes what was noted, as far as it can be now; what kept it from that, or None."""
    activity = services.activity
    if activity.dropped:
        log.warning("activity_dropped", count=activity.dropped)
        activity.dropped = 0
    try:
        await activity.flush(services.database)
    except Unavailable as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a bug here must not end everybody's sessions
        return type(error).__name__
    return None
