"""Ending sessions: one's own, another one, the others, all. Each takes effect before it answers."""

from collections.abc import Iterable
from uuid import UUID

import strawberry
import structlog

from auth.errors import Unauthenticated
from auth.viewer import Viewer
from context import Context, Info, fresh, hold, signed_in
from db import events, link_codes, sessions
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

    Signing out of a session that was ended meanwhile is what was wanted. Ending another one from
    it is refused (Unauthenticated): a revoked device can do nothing more.
    """
    own = target == viewer.session_id
    if not own:
        await fresh(context, viewer)
    reason = RevokedReason.SIGNED_OUT if own else RevokedReason.REVOKED_BY_USER
    async with context.begin() as db:
        try:
            caller = await hold(db, viewer)
            if not own:
                await fresh(context, caller)  # a guest may be an account by now
        except Unauthenticated:
            if not own:
                raise
        if target is None:
            return RevokeSessionStatus.NOT_FOUND, None
        ended = await sessions.revoke(
            db, viewer.user_id, target, reason=reason, by=viewer.session_id
        )
        await events.record(db, Kind.REVOKED, [ended] if ended else [], context.by(viewer))
        known = ended or await sessions.confirm_ended(db, viewer.user_id, target)
    if ended:
        tell([ended], by=viewer.session_id)
        return RevokeSessionStatus.REVOKED, ended
    if known or own:
        return RevokeSessionStatus.ALREADY_ENDED, known
    return RevokeSessionStatus.NOT_FOUND, None


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
