"""Ending sessions: one's own, another one, the others, all. Each takes effect before it answers."""

from collections.abc import Iterable
from uuid import UUID

import strawberry
import structlog

from auth.viewer import Viewer
from context import Context, Info, fresh, hold, signed_in
from db import events, link_codes, sessions, users
from db.endings import Ending
from db.events import Kind
from db.sessions import RevokedReason, SessionRow
from resolvers.optional import is_given
from resolvers.sessions import parse_id, to_session
from schema.types import RevokeSessionPayload, RevokeSessionsPayload, RevokeSessionStatus

SAMPLE = 100  # sessions that an answer shows of those that ended

log = structlog.get_logger()


async def revoke_session(
    info: Info,
    id: strawberry.ID | None = strawberry.UNSET,  # noqa: A002 - the contract's name
) -> RevokeSessionPayload:
    """Ends a session before it answers; without id, the caller's own."""
    viewer = signed_in(info)
    target = parse_id(id) if is_given(id) else viewer.session_id
    status, row = await end(info.context, viewer, target)
    own = target == viewer.session_id
    return RevokeSessionPayload(
        status=status, session=to_session(row, viewer.user, is_current=own) if row else None
    )


async def end(
    context: Context, viewer: Viewer, target: UUID | None
) -> tuple[RevokeSessionStatus, SessionRow | None]:
    """Ends a session of the caller's user; what became of it. None is what nobody has.

    Raises Unauthenticated and ProofNotFresh.
    """
    if target is None:
        await refuse_unless_live(context, viewer)
        return RevokeSessionStatus.NOT_FOUND, None
    is_own = target == viewer.session_id  # that is signing out
    if not is_own:
        await fresh(context, viewer)
    ending = Ending(
        viewer.user_id,
        target,
        RevokedReason.SIGNED_OUT if is_own else RevokedReason.REVOKED_BY_USER,
        by=viewer.session_id,
        fresh_for=None if is_own else context.services.policy.fresh_for,
        latest=context.latest,
        address=context.origin.address,
    )
    ended = await context.services.endings.ask(
        ending, owner=viewer.user_id, deadline=context.deadline
    )
    known = None
    if ended is None:
        ended, known = await end_alone(context, viewer, ending)
    if ended:
        tell([ended], by=viewer.session_id)
        return RevokeSessionStatus.REVOKED, ended
    if known or is_own:
        return RevokeSessionStatus.ALREADY_ENDED, known
    return RevokeSessionStatus.NOT_FOUND, None


async def refuse_unless_live(context: Context, viewer: Viewer) -> None:
    """Raises Unauthenticated and ProofNotFresh where the caller could end nothing."""
    await fresh(context, viewer)
    async with context.begin() as db:
        await fresh(context, await hold(db, viewer))


async def end_alone(
    context: Context, viewer: Viewer, ending: Ending
) -> tuple[SessionRow | None, SessionRow | None]:
    """The session, if this ended it, and if it had ended before.

    It waits for whoever has the user's row, and looks at the caller again, as db/endings.py does.
    Signing out of a session that was ended meanwhile is what was wanted. Ending another one from it
    is refused: a revoked device can do nothing more. Raises Unauthenticated and ProofNotFresh.
    """
    async with context.begin() as db:
        if ending.session_id == ending.by:
            await users.lock(db, viewer.user_id)
        else:
            await fresh(context, await hold(db, viewer))  # a guest may be an account by now
        ended = await sessions.revoke(
            db, viewer.user_id, ending.session_id, reason=ending.reason, by=ending.by
        )
        if ended:
            await events.record(db, Kind.REVOKED, [ended], context.by(viewer))
            return ended, None
        return None, await sessions.confirm_ended(db, viewer.user_id, ending.session_id)


async def revoke_other_sessions(info: Info) -> RevokeSessionsPayload:
    """Ends the caller's sessions but the one that asks for it."""
    viewer = await fresh(info.context, signed_in(info))
    async with info.context.begin() as db:
        await fresh(info.context, await hold(db, viewer))
        ended = await sessions.revoke_others(
            db,
            viewer.user_id,
            keep=viewer.session_id,
            reason=RevokedReason.REVOKED_BY_USER,
            by=viewer.session_id,
        )
        await events.record(db, Kind.REVOKED, ended, info.context.by(viewer))
    return told(ended, viewer)


async def revoke_all_sessions(info: Info) -> RevokeSessionsPayload:
    """Ends the caller's sessions, the one that asks for it too, and every open code."""
    viewer = await fresh(info.context, signed_in(info))
    async with info.context.begin() as db:
        await fresh(info.context, await hold(db, viewer))
        ended = await sessions.revoke_all(
            db,
            viewer.user_id,
            reason=RevokedReason.REVOKED_BY_USER,
            by=viewer.session_id,
            own=viewer.session_id,
        )
        await link_codes.close(db, viewer.user_id)
        await events.record(db, Kind.REVOKED, ended, info.context.by(viewer))
    return told(ended, viewer)


def told(ended: list[SessionRow], viewer: Viewer) -> RevokeSessionsPayload:
    """The answer to an ending of several."""
    tell(ended, by=viewer.session_id)
    sample = [
        to_session(row, viewer.user, is_current=row.id == viewer.session_id)
        for row in ended[:SAMPLE]
    ]
    return RevokeSessionsPayload(revoked_count=len(ended), dry_run=False, sessions=sample)


def tell(ended: Iterable[SessionRow], *, by: UUID) -> None:
    """A line in the log for each session that ended, by which other one."""
    for row in ended:
        log.info(
            "session_revoked",
            user=str(row.user_id),
            session=str(row.id),
            by=str(by),
            reason=row.revoked_reason,
        )
