"""The rows that contenders read and write: callers, sessions to end, and a look at what became."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from dialects import Caller
from ground import connected, execute, fill

from auth import keys, tokens
from auth.keys import KeyRing
from auth.tokens import Profile

PER_USER = 5
CALLERS = 1000  # of each sort: who read, and who end sessions
PROFILE = Profile("bigtwo-sessions", "bigtwo-sessions", "bigtwo-frontend")


class Rows(Protocol):
    """The tables of a contender."""

    readers: list[Caller]
    writers: list[Caller]

    async def targets(self, number: int) -> list[tuple[Caller, str]]:
        """So many live sessions of the writers, made to be ended, each with who may end it."""

    async def was_created(self, session: str) -> bool:
        """Whether everything is there that belongs to a new session."""

    async def was_revoked(self, session: str) -> bool:
        """Whether everything is there that belongs to a session that was ended."""

    def shown(self, caller: Caller, session: str) -> Caller:
        """The caller, coming with another session of theirs."""


@dataclass
class OurRows:
    """Our own tables, which most contenders use too, and our tokens."""

    url: str
    ring: KeyRing
    readers: list[Caller]
    writers: list[Caller]

    async def targets(self, number: int) -> list[tuple[Caller, str]]:
        """See Rows."""
        by_id = {uuid.UUID(caller.user_id): caller for caller in self.writers}
        each = -(-number // len(by_id))
        async with connected(self.url) as db:
            made = await db.fetch(
                """INSERT INTO user_sessions
                       (user_id, id, label, created_at, expires_at, idle_timeout,
                        activity_resolution)
                   SELECT u.id, gen_random_uuid(), 'to be ended', now() - interval '1 h',
                          now() + interval '30 d', interval '336 h', interval '1 h'
                   FROM generate_series(1, $2::int) n, unnest($1::uuid[]) u (id)
                   RETURNING user_id, id""",
                list(by_id),
                each,
            )
        return [(by_id[row["user_id"]], str(row["id"])) for row in made[:number]]

    async def was_created(self, session: str) -> bool:
        """See Rows."""
        return await self._one(
            """SELECT count(*) = 1 FROM user_sessions s JOIN users u ON u.id = s.user_id
               JOIN usernames n ON n.user_id = u.id AND n.username_key = u.username
               JOIN session_events e ON e.user_id = s.user_id AND e.session_id = s.id
               WHERE s.id = $1 AND e.kind = 'CREATED' AND u.is_guest AND s.revoked_at IS NULL
                   AND s.user_agent IS NOT NULL AND s.ip_address IS NOT NULL""",
            session,
        )

    async def was_revoked(self, session: str) -> bool:
        """See Rows."""
        return await self._one(
            """SELECT count(*) = 1 FROM user_sessions s
               JOIN session_events e ON e.user_id = s.user_id AND e.session_id = s.id
               WHERE s.id = $1 AND e.kind = 'REVOKED' AND s.revoked_at IS NOT NULL
                   AND s.revoked_reason = e.reason AND s.revoked_by = e.actor_session_id""",
            session,
        )

    async def _one(self, query: str, session: str) -> bool:
        async with connected(self.url) as db:
            return bool(await db.fetchval(query, uuid.UUID(session)))

    def shown(self, caller: Caller, session: str) -> Caller:
        """See Rows."""
        return caller_of(self.ring, caller.user_id, caller.username, session)


def caller_of(ring: KeyRing, user_id: Any, username: str, session_id: Any) -> Caller:
    """Somebody with a token of ours that is good for a day."""
    now = datetime.now(UTC)
    token = tokens.mint(
        ring,
        PROFILE,
        user_id=uuid.UUID(str(user_id)),
        session_id=uuid.UUID(str(session_id)),
        created_at=now,
        expires_at=now + timedelta(days=1),
    )
    return Caller(str(user_id), username, str(session_id), token)


async def ours(url: str, secret: str, sessions: int) -> OurRows:
    """Our tables with so many sessions, five a user, and who will call."""
    ring = keys.ring(secret)
    # Ours notes once a minute that a session was used. Between two of its rounds a minute passes,
    # so that would be once a round: in proportion, many times what it costs those who are busy.
    users = max(sessions // PER_USER, 2 * CALLERS)
    await fill(url, users, sessions=PER_USER, resolution="1 h")
    await execute(
        url,
        "INSERT INTO usernames (username_key, user_id) SELECT username, id FROM users",
        "VACUUM (ANALYZE) usernames",
        "CHECKPOINT",
    )
    return await callers_of(url, ring)


async def callers_of(url: str, ring: KeyRing) -> OurRows:
    """Our tables as they are, and who will call."""
    async with connected(url) as db:
        found = await db.fetch(
            """SELECT DISTINCT ON (u.id) u.id, u.username, s.id AS session_id
               FROM (SELECT id, username FROM users u
                     WHERE EXISTS (SELECT FROM user_sessions s
                                   WHERE s.user_id = u.id AND s.expires_at > now())
                     ORDER BY random() LIMIT $1) u
               JOIN user_sessions s ON s.user_id = u.id AND s.expires_at > now()""",
            2 * CALLERS,
        )
    callers = [caller_of(ring, *row) for row in found]
    return OurRows(url, ring, callers[: len(callers) // 2], callers[len(callers) // 2 :])
