"""Writes down, once a second, what sessions did; and a last time at shutdown."""

import asyncio

import structlog

from context import Services
from db.engine import Unavailable

INTERVAL = 1.0  # seconds; db.sessions.AHEAD allows for it

log = structlog.get_logger()


async def keep_noting(services: Services) -> None:
    """Writes for ever; ends by being cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        await write_down(services)


async def write_down(services: Services) -> None:
    """Writes what was noted, as far as it can be now, and says what was lost or must wait."""
    activity = services.activity
    if activity.dropped:
        log.warning("activity_dropped", count=activity.dropped)
        activity.dropped = 0
    try:
        await activity.flush(services.database)
    except Unavailable as error:  # the condition's watch tells when that begins and ends
        log.debug("activity_waits", count=len(activity), cause=str(error))
