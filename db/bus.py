"""The bus: tells every process whose sessions have changed, after the commit that changed them.

It only hastens, the rows decide: a message may be lost, forged or late, and nothing is let in or
kept out by it. Inside the transaction NOTIFY would hold one global lock until the commit is on the
disk; so it has a connection of its own, and everything that committed since the last message shares
the next one.
"""

import asyncio
import random
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from db.engine import Connection, describe
from db.url import connect_arguments

CHANNEL = "bigtwo_sessions"
EVERYTHING = "*"  # in the place of ids: look at all rows
MAX_IDS = 240  # of 33 bytes each: PostgreSQL takes fewer than 8,000 in a message
TIMEOUT = 2.0  # seconds for connecting and for each statement
HEARTBEAT = 5.0  # seconds after which a silent connection is asked whether it still leads anywhere
# Seconds between two messages. One for each commit cost a tenth of the throughput of endings, and
# wakes every process that listens; what comes seldom goes at once.
PACE = 0.01
TRIES = 3  # of a message, before it is left to the rows that everybody reads again
PAUSE = (0.1, 0.5)  # seconds before a new connection, drawn at random
LONGEST_PAUSE = 5.0

Hear = Callable[[Collection[UUID] | None], None]  # None: any user's sessions may have changed

log = structlog.get_logger()


class Bus:
    """One process's place on the bus; without a URL it reaches this process only."""

    def __init__(self, url: str | None, hear: Hear) -> None:
        self.is_listening = False
        self._url = url
        self._hear = hear
        self._pending: set[UUID] = set()
        self._sending: asyncio.Task[None] | None = None
        self._speaker: Any = None

    def tell(self, user_ids: Collection[UUID]) -> None:
        """Tells this process at once, and all others soon; never waits and never fails."""
        self._hear(user_ids)
        if self._url is None:
            return
        self._pending.update(user_ids)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def listen(self) -> None:
        """Hears what others tell, for ever; ends by being cancelled."""
        longest, is_news = PAUSE[1], True
        while self._url is not None:
            error: BaseException | None = None
            try:
                await self._listen_once(self._url)
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is tried again
                error = failure
            if self.is_listening or is_news:
                log.warning("bus_lost", error=describe(error) if error else "closed")
                longest = PAUSE[1]
            self.is_listening = is_news = False
            self._hear(None)
            await asyncio.sleep(random.uniform(PAUSE[0], longest))  # noqa: S311 - jitter
            longest = min(2 * longest, LONGEST_PAUSE)

    async def close(self) -> None:
        """Sends what is left, for a moment at most."""
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=TIMEOUT)
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending
        self._drop_speaker()

    # Listening

    async def _listen_once(self, url: str) -> None:
        connection = await connect(url)
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            await bounded(connection.add_listener(CHANNEL, self._heard))
            self.is_listening = True
            self._hear(None)  # what was told while nobody listened
            while not ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT):
                        await ended.wait()
                    return
                if await bounded(connection.fetchval("SELECT pg_is_in_recovery()")):
                    return
        finally:
            connection.terminate()

    def _heard(self, _: object, pid: int, __: str, payload: str) -> None:
        if self._speaker is None or pid != self._speaker.get_server_pid():
            self._hear(ids_in(payload))

    # Speaking

    async def _send(self) -> None:
        tries = TRIES
        while self._pending and tries:
            try:
                await self._send_once()
            except Exception as error:  # noqa: BLE001 - asyncpg has a kind of its own for: no primary
                tries -= 1
                self._drop_speaker()
                log.warning("bus_not_told", error=describe(error))
                await asyncio.sleep(random.uniform(*PAUSE))  # noqa: S311 - jitter
            else:
                tries = TRIES
                await asyncio.sleep(PACE)
        self._pending.clear()

    async def _send_once(self) -> None:
        if self._speaker is None and self._url is not None:
            self._speaker = await connect(self._url)
        told, self._pending = self._pending, set()  # who changes from now on is told of again
        try:
            message = payload_of(told)
            await bounded(self._speaker.execute("SELECT pg_notify($1, $2)", CHANNEL, message))
        except BaseException:
            self._pending |= told
            raise

    def _drop_speaker(self) -> None:
        if self._speaker is not None:
            self._speaker.terminate()
            self._speaker = None


async def connect(url: str) -> Any:
    """A connection for messages.

    Its commits carry nothing, so they wait for no disk and no standby: one that is away would keep
    every message back.
    """
    arguments = connect_arguments(url, timeout=TIMEOUT)
    create = arguments.pop("async_creator_fn")
    arguments["server_settings"] |= {
        "application_name": "bigtwo-sessions-bus",
        "synchronous_commit": "off",
    }
    return await create(**arguments, connection_class=Connection)


async def bounded(statement: Any) -> Any:
    """What a statement answers in time; else raises TimeoutError, and the connection is dropped.

    Not by wait_for: in Python 3.11 it passes over a cancellation that comes with the answer.
    """
    async with asyncio.timeout(TIMEOUT):
        return await statement


def payload_of(user_ids: Collection[UUID]) -> str:
    """A message: ids and nothing else, for every role of the database may listen."""
    if len(user_ids) > MAX_IDS:
        return EVERYTHING
    return ",".join(user_id.hex for user_id in user_ids)


def ids_in(payload: str) -> list[UUID] | None:
    """Whose sessions a message is about; None for all, and for what is no message of ours."""
    try:
        return [UUID(hex=item) for item in payload.split(",")]
    except ValueError:
        return None
