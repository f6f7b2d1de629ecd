"""What administrators and operators do to other people's sessions, for resolvers and commands."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db import events, link_codes, session_search, sessions, users
from db.events import By, Kind
from db.session_search import Filter, where
from db.sessions import COLUMNS, LIVE, RevokedReason, SessionRow, to_sessions
from db.statements import text

BATCH = 200  # sessions whose users' rows are held for one short transaction

Begin = Callable[..., AbstractAsyncContextManager[AsyncConnection]]


async def revoke_where(
    begin: Begin, wanted: Filter, by: By, *, spare: UUID | None, patience: str | None = None
) -> AsyncIterator[list[SessionRow]]:
    """Ends the live sessions of a filter but one, batch by batch, each committed when it is told.

    begin: a transaction that has checked whoever asks and holds the rows of the users it is given,
    in the order of all ids. Users whose row somebody else holds are passed over, so that a batch
    waits for nobody while others wait for it; they come last, one by one, because what they have
    under way must not outlive this. Raises TooSlow.
    """
    after, busy = None, set[UUID]()
    while True:
        async with begin() as db:
            keys = await session_search.live_keys(
                db, wanted, spare=spare, after=after, limit=BATCH, patience=patience
            )
        if not keys:
            break
        after, owners = keys[-1][1], {user_id for user_id, _ in keys}
        async with begin() as db:
            free = await users.lock_free(db, list(owners))
            ended = await revoke_of(db, wanted, free, by, spare=spare)
        busy |= owners - free
        yield ended
    for user_id in sorted(busy):
        async with begin(user_id) as db:
            ended = await revoke_of(db, wanted, [user_id], by, spare=spare)
        yield ended


async def revoke_of(
    db: AsyncConnection, wanted: Filter, owners: Collection[UUID], by: By, *, spare: UUID | None
) -> list[SessionRow]:
    """Ends those of some users' sessions that suit the filter and live.

    By the users, not by the sessions that were found: one of theirs may have made another one.
    Their rows must be locked, by a statement before this one.
    """
    condition, values = where(
        wanted,
        LIVE,
        "s.user_id = u.id",
        "u.id = ANY(:owners)",
        "s.id IS DISTINCT FROM CAST(:spare AS uuid)",
    )
    ended = await db.execute(
        text(f"""
            UPDATE user_sessions s
            SET revoked_at = statement_timestamp(), revoked_reason = :reason,
                revoked_by = CAST(:revoked_by AS uuid)
            FROM users u WHERE {condition}
            RETURNING {COLUMNS}
        """),  # noqa: S608 - constants
        values
        | {
            "owners": list(owners),
            "spare": spare,
            "reason": RevokedReason.REVOKED_BY_ADMIN.value,
            "revoked_by": by.session_id,
        },
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
