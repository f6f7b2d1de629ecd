"""What administrators and operators do to other people's sessions, for resolvers and commands."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import events, link_codes, session_search, sessions, users
from db.events import By, Kind
from db.session_search import Filter, where
from db.sessions import COLUMNS, LIVE, RevokedReason, SessionRow, to_sessions

BATCH = 200  # sessions whose users' rows are held for one short transaction

Begin = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
Key = tuple[UUID, UUID]  # of a session: its user and its id


async def revoke_where(
    begin: Begin, wanted: Filter, by: By, *, spare: UUID | None
) -> AsyncIterator[list[SessionRow]]:
    """Ends the live sessions of a filter but one, batch by batch, each committed when it is told.

    begin: a transaction that has checked whoever asks. Users whose row somebody holds are passed
    over, so that a batch waits for nobody while others wait for it; they come last, one by one,
    because what they have under way must not outlive this. Raises TooSlow.
    """
    after, busy = None, set[UUID]()
    while True:
        async with begin() as db:
            keys = await session_search.live_keys(db, wanted, spare=spare, after=after, limit=BATCH)
        if not keys:
            break
        after = keys[-1][1]
        async with begin() as db:
            free = await users.lock_free(db, [user_id for user_id, _ in keys])
            ended = await revoke_keys(db, wanted, [key for key in keys if key[0] in free], by)
        busy |= {user_id for user_id, _ in keys} - free
        yield ended
    for user_id in sorted(busy):
        async with begin() as db:
            await users.lock(db, user_id)
            ended = await revoke_of_user(db, wanted, user_id, by, spare=spare)
        yield ended


async def revoke_keys(
    db: AsyncConnection, wanted: Filter, keys: list[Key], by: By
) -> list[SessionRow]:
    """Ends those of the sessions that still suit the filter and live."""
    condition, values = where(wanted, LIVE, "s.user_id = k.user_id", "s.id = k.id")
    return await _revoke(
        db,
        f"""
            FROM unnest(CAST(:user_ids AS uuid[]), CAST(:ids AS uuid[])) AS k (user_id, id)
            JOIN users u ON u.id = k.user_id
            WHERE {condition}
        """,
        values | {"user_ids": [key[0] for key in keys], "ids": [key[1] for key in keys]},
        by,
    )


async def revoke_of_user(
    db: AsyncConnection, wanted: Filter, user_id: UUID, by: By, *, spare: UUID | None
) -> list[SessionRow]:
    """Ends those of one user's sessions that suit the filter and live."""
    condition, values = where(
        wanted,
        LIVE,
        "s.user_id = u.id",
        "u.id = :owner",
        "s.id IS DISTINCT FROM CAST(:spare AS uuid)",
    )
    return await _revoke(
        db,
        f"FROM users u WHERE {condition}",
        values | {"owner": user_id, "spare": spare},
        by,
    )


async def _revoke(
    db: AsyncConnection, which: str, values: dict[str, object], by: By
) -> list[SessionRow]:
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = now(), revoked_reason = :reason,
                revoked_by = CAST(:revoked_by AS uuid)
            {which}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        values | {"reason": RevokedReason.REVOKED_BY_ADMIN.value, "revoked_by": by.session_id},
    )
    rows = to_sessions(ended)
    await events.record(db, Kind.REVOKED, rows, by)
    return rows


async def set_disabled(
    db: AsyncConnection, user_id: UUID, by: By, *, disabled: bool
) -> tuple[bool, list[SessionRow]]:
    """Disables or enables a user: whether that changed anything, and the sessions that ended.

    Disabling ends all sessions and open codes. The user's row must be locked, by a statement
    before this one.
    """
    changed = await users.set_disabled(db, user_id, disabled=disabled)
    if not disabled:
        return changed, []
    ended = await sessions.revoke_all(
        db, user_id, reason=RevokedReason.USER_DISABLED, by=by.session_id
    )
    await link_codes.close(db, user_id)
    await events.record(db, Kind.REVOKED, ended, by)
    return changed, ended
