"""What sessions did lately: noted in memory, written down together, late and without waiting.

A request that keeps a session alive must not pay for a write, nor wait for one. So it leaves a
note here; once a second the notes become one statement a batch. kill -9 loses that second's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import Database
from db.sessions import LIVE, Key
from db.statements import text

CAPACITY = 100_000  # notes of one process, about 30 MB; more are dropped, and counted
BATCH = 500  # rows of one statement: for a few milliseconds, whoever ends one of them waits


@dataclass(frozen=True, slots=True)
class Use:
    """The last use of a session: the database's time in seconds since 1970, and from where."""

    at: float
    address: str | None


class Activity:
    """The notes of one process."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.dropped = 0  # notes for which there was no room, since somebody last set it to 0
        self._capacity = capacity
        self._notes: dict[Key, Use] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def note(self, key: Key, use: Use) -> None:
        """Notes a use; never fails and never waits."""
        if key in self._notes or len(self._notes) < self._capacity:
            self._notes[key] = use
        else:
            self.dropped += 1

    async def flush(self, database: Database) -> int:
        """Writes down what was noted until now; how many are noted still, because of locks.

        What cannot be written stays noted, unless something newer is. Raises Unavailable.
        """
        for _ in range(-(-len(self._notes) // BATCH)):
            batch = dict(islice(self._notes.items(), BATCH))
            for key in batch:
                del self._notes[key]
            try:
                async with database.begin() as db:
                    locked = await write(db, batch)
            except BaseException:
                self._keep(batch)
                raise
            self._keep({key: batch[key] for key in locked})
        return len(self._notes)

    def _keep(self, batch: dict[Key, Use]) -> None:
        for key, use in batch.items():
            self._notes.setdefault(key, use)


async def write(db: AsyncConnection, uses: dict[Key, Use]) -> Sequence[Key]:
    """Writes down uses of live sessions; those of them that somebody else holds a lock on.

    It revives nothing, for it carries the live predicate, and waits for nobody, so that two
    processes with the same sessions cannot deadlock. A first use puts a guest's longer idle timeout
    into force. (A distributed PostgreSQL refuses SKIP LOCKED over many users. There it would be the
    same update without `held`, its keys sorted, under a short lock_timeout, tried again.)
    """
    skipped = await db.execute(
        text(f"""
            WITH noted AS MATERIALIZED (
                SELECT * FROM unnest(
                    CAST(:user_ids AS uuid[]), CAST(:ids AS uuid[]),
                    CAST(:times AS double precision[]), CAST(:addresses AS text[])
                ) AS n (user_id, id, at, address)
            ), held AS MATERIALIZED (
                SELECT s.user_id, s.id FROM noted n
                JOIN user_sessions s ON s.user_id = n.user_id AND s.id = n.id
                WHERE {LIVE}
                FOR NO KEY UPDATE OF s SKIP LOCKED
            ), written AS (
                UPDATE user_sessions s
                SET last_active_at = greatest(
                        s.last_active_at, least(to_timestamp(n.at), clock_timestamp())),
                    ip_address = CASE WHEN to_timestamp(n.at) >= s.last_active_at
                                      THEN CAST(n.address AS inet) ELSE s.ip_address END,
                    idle_timeout = coalesce(s.idle_timeout_once_used, s.idle_timeout),
                    idle_timeout_once_used = NULL
                FROM noted n JOIN held h ON h.user_id = n.user_id AND h.id = n.id
                WHERE s.user_id = n.user_id AND s.id = n.id AND {LIVE}
            )
            SELECT s.user_id, s.id FROM noted n
            JOIN user_sessions s ON s.user_id = n.user_id AND s.id = n.id
            WHERE {LIVE}
            EXCEPT SELECT h.user_id, h.id FROM held h
        """),  # noqa: S608 - constants
        {
            "user_ids": [key.user_id for key in uses],
            "ids": [key.session_id for key in uses],
            "times": [use.at for use in uses.values()],
            "addresses": [use.address for use in uses.values()],
        },
    )
    return [Key(*row) for row in skipped]
