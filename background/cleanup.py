"""Cleaning up: sessions that ended long ago, and guests who have none left.

Any number of workers may run it: the database lets one at a time. Batches are small, so that
nobody waits for their locks, and a run ends when its time is used up; the next one goes on.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from db import events, known_networks, purge
from db.engine import Database
from db.events import Actor, By, Kind

BATCH = 500  # rows
BUDGET = 5.0  # seconds of one run beside live traffic
PAUSE = 0.05  # seconds between batches: room for everybody else
FIRST = UUID(int=0)
SYSTEM = By(Actor.SYSTEM)

log = structlog.get_logger()


@dataclass
class Cleanup:
    """What a cleanup has done, and how far its sweep over the users has come."""

    database: Database
    retention: timedelta
    address_retention: timedelta | None  # none: an address is kept as long as its session
    event_retention: timedelta
    sessions_purged: int = 0
    guests_deleted: int = 0
    addresses_wiped: int = 0
    waits: bool = False  # for another one that cleans up, instead of leaving it to that one
    place: UUID = field(default=FIRST)

    async def take_lock(self, db: AsyncConnection) -> bool:
        """Whether this transaction is now the only one that cleans up."""
        if self.waits:
            await purge.wait_for_lock(db)
            return True
        return await purge.take_lock(db)

    async def run(self, *, budget: float | None = BUDGET) -> None:
        """Purges in batches until nothing is left to do or the budget (seconds) is used up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + budget if budget is not None else float("inf")
        self.waits = budget is None
        for step in (
            self.note_batch,
            self.purge_batch,
            self.purge_spent,
            self.purge_events,
            self.sweep_batch,
        ):
            while loop.time() < end and await step():  # noqa: ASYNC110 - not waiting: working
                await asyncio.sleep(PAUSE if budget is not None else 0)

    async def note_batch(self) -> bool:
        """Notes one batch of sessions that reached their deadline; whether to go on."""
        async with self.database.begin() as db:
            if not await self.take_lock(db):
                return False
            expired = await purge.note_expired(db, limit=BATCH)
            await events.record(db, Kind.EXPIRED, expired, SYSTEM)
        return len(expired) == BATCH

    async def purge_events(self) -> bool:
        """Purges one batch of old events, and of old events' addresses; whether to go on."""
        async with self.database.begin() as db:
            if not await self.take_lock(db):
                return False
            gone = await events.delete_old(db, retention=self.event_retention, limit=BATCH)
            wiped = 0
            if self.address_retention is not None:
                wiped = await events.wipe_addresses(
                    db, retention=self.address_retention, limit=BATCH
                )
        return BATCH in {gone, wiped}

    async def purge_batch(self) -> bool:
        """Purges one batch of sessions, and their users if those were guests; whether to go on."""
        async with self.database.begin() as db:
            if not await self.take_lock(db):
                return False
            owners = await purge.delete_sessions(db, retention=self.retention, limit=BATCH)
        self.sessions_purged += len(owners)
        self.guests_deleted += await self.delete_abandoned(owners)
        return len(owners) == BATCH

    async def delete_abandoned(self, users: Sequence[UUID]) -> int:
        """Deletes those of the users who are abandoned guests; how many.

        In a transaction of its own: everybody else locks a user's row before the sessions'.
        """
        if not users:
            return 0
        try:
            async with self.database.begin() as db:
                return await purge.delete_abandoned(db, users) if await self.take_lock(db) else 0
        except IntegrityError:
            return 0  # one of them got a session meanwhile: the next sweep looks again

    async def purge_spent(self) -> bool:
        """Purges one batch of codes, keys and counts that have served; whether to go on."""
        async with self.database.begin() as db:
            return await self.take_lock(db) and await purge.delete_spent(db, limit=BATCH) >= BATCH

    async def sweep_batch(self) -> bool:
        """Looks through the next users for what no index finds; whether to go on.

        Sessions that ended by idling, addresses and known networks that were kept long enough.
        Then guests who have nothing left: a row can vanish by another hand, a role can be taken
        away.
        """
        async with self.database.begin() as db:
            if not await self.take_lock(db):
                return False
            ids = await purge.next_users(db, self.place, BATCH)
            idled = await purge.note_idled(db, ids)
            await events.record(db, Kind.EXPIRED, idled, SYSTEM)
            gone = await purge.delete_ended(db, ids, retention=self.retention)
            await known_networks.forget(db, ids)
            wiped = (
                await purge.wipe_addresses(db, ids, retention=self.address_retention)
                if self.address_retention is not None
                else 0
            )
        guests = await self.delete_abandoned(ids)
        self.sessions_purged += gone
        self.addresses_wiped += wiped
        self.guests_deleted += guests
        self.place = ids[-1] if len(ids) == BATCH else FIRST
        return self.place != FIRST


async def keep_clean(cleanup: Cleanup, *, interval: float) -> None:
    """Cleans up for ever, about every interval (seconds); ends by being cancelled."""
    while True:
        await asyncio.sleep(interval * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        cleanup.sessions_purged = cleanup.guests_deleted = cleanup.addresses_wiped = 0
        try:
            await cleanup.run()
        except Exception as error:  # noqa: BLE001 - the next run must come, whatever this one met
            log.warning("cleanup_failed", error=type(error).__name__)
        if cleanup.sessions_purged or cleanup.guests_deleted or cleanup.addresses_wiped:
            log.info(
                "cleaned_up",
                sessions=cleanup.sessions_purged,
                guests=cleanup.guests_deleted,
                addresses=cleanup.addresses_wiped,
            )
