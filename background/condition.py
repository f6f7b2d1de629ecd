"""Watches the database's condition: keeps the clock true and tells the operator what changed."""

import asyncio

import structlog

from context import Services
from db.engine import Unavailable
from web import health

INTERVAL = 30.0  # seconds between looks when all is well
INTERVAL_WHEN_SICK = 1.0

log = structlog.get_logger()


async def watch(services: Services) -> None:
    """Looks for ever; ends by being cancelled."""
    before: dict[str, str] = {}
    while True:
        wrong = {k: v for k, v in (await look(services)).items() if v != "ok"}
        if wrong != before:
            report(wrong)
        before = wrong
        await asyncio.sleep(INTERVAL_WHEN_SICK if wrong else INTERVAL)


async def look(services: Services) -> dict[str, str]:
    """What the checks find. A bug in one is a finding too: it must not end the watch."""
    try:
        return await health.check(services)
    except Unavailable as error:
        return {"database": f"cannot answer: {error}"}
    except Exception as error:  # noqa: BLE001 - said above
        return {"condition": f"unknown: {type(error).__name__}"}


def report(wrong: dict[str, str]) -> None:
    """One line for a change of condition."""
    if wrong:
        log.error("not_ready", **wrong)
    else:
        log.info("ready_again")
