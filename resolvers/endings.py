"""Ending sessions: one's own, another one, the others, all. Each takes effect before it answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import strawberry
import structlog

from auth.errors import Refused
from auth.viewer import Viewer
from context import Context, Info, fresh, hold, judge, signed_in
from db import events, link_codes, sessions, users
from db.direct import Statements
from db.events import Kind
from db.sessions import Ending, Key, OwnedSession, RevokedReason, SessionRow
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


@dataclass(frozen=True, slots=True)
class Wish:
    """That a session of the caller's user may end."""

    context: Context
    viewer: Viewer
    target: UUID

    @property
    def is_own(self) -> bool:
        """Whether it is the caller's own session: that is signing out."""
        return self.target == self.viewer.session_id

    @property
    def key(self) -> Key:
        """The key of the session that is to end."""
        return Key(self.viewer.user_id, self.target)

    @property
    def ending(self) -> Ending:
        """What it becomes, where the caller may wish it."""
        reason = RevokedReason.SIGNED_OUT if self.is_own else RevokedReason.REVOKED_BY_USER
        return Ending(self.key, reason, self.viewer.session_id)

    async def judge(self, found: OwnedSession | None) -> None:
        """Raises Unauthenticated and ProofNotFresh unless the caller, as found, may wish this.

        Signing out of a session that was ended meanwhile is what was wanted. Ending another one
        from it is refused: a revoked device can do nothing more.
        """
        if not self.is_own:
            await fresh(self.context, judge(found))  # a guest may be an account by now


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a wish: the session, if there is one, and whether this ended it."""

    row: SessionRow | None
    now: bool = False


async def end(
    context: Context, viewer: Viewer, target: UUID | None
) -> tuple[RevokeSessionStatus, SessionRow | None]:
    """Ends a session of the caller's user; what became of it. None is what nobody has.

    Raises Unauthenticated and ProofNotFresh.
    """
    if target is None:
        await refuse_unless_live(context, viewer)
        return RevokeSessionStatus.NOT_FOUND, None
    wish = Wish(context, viewer, target)
    if not wish.is_own:
        await fresh(context, viewer)
    shared = context.services.endings
    ended = await shared.ask(wish, owner=viewer.user_id, deadline=context.deadline)
    if ended is None:
        ended = await end_alone(wish)
    if ended.now and ended.row:
        tell([ended.row], by=viewer.session_id)
        return RevokeSessionStatus.REVOKED, ended.row
    if ended.row or wish.is_own:
        return RevokeSessionStatus.ALREADY_ENDED, ended.row
    return RevokeSessionStatus.NOT_FOUND, None


async def refuse_unless_live(context: Context, viewer: Viewer) -> None:
    """Raises Unauthenticated and ProofNotFresh where the caller could end nothing."""
    await fresh(context, viewer)
    async with context.begin() as db:
        await fresh(context, await hold(db, viewer))


async def end_alone(wish: Wish) -> Ended:
    """Does what was wished, waiting for whoever has the user's row."""
    async with wish.context.begin() as db:
        await users.lock(db, wish.viewer.user_id)
        (became,) = await end_held(db, [wish])
    if isinstance(became, Exception):
        raise became
    return became


async def end_together(db: Statements, wishes: Sequence[Wish]) -> list[Ended | Exception | None]:
    """Does what was wished, each by another user; None where somebody has the user's row."""
    free = await users.lock_free(db, [wish.viewer.user_id for wish in wishes])
    held = [wish for wish in wishes if wish.viewer.user_id in free]
    became = dict(zip((wish.key for wish in held), await end_held(db, held), strict=True))
    return [became.get(wish.key) for wish in wishes]


async def end_held(db: Statements, wishes: Sequence[Wish]) -> list[Ended | Exception]:
    """Does what was wished. The users' rows must be locked, by a statement before.

    One statement for each step, however many wishes: who asks, what ends, the history, and what
    had ended before.
    """
    refused = await refusals(db, wishes)
    granted = [wish for wish in wishes if wish.key not in refused]
    ended = await sessions.revoke_many(db, [wish.ending for wish in granted])
    done = [
        (ended[wish.key], wish.context.by(wish.viewer)) for wish in granted if wish.key in ended
    ]
    await events.record_each(db, Kind.REVOKED, done)
    left = [wish.key for wish in granted if wish.key not in ended]
    known = await sessions.confirm_ended(db, left) if left else {}
    return [
        refused.get(wish.key)
        or Ended(ended.get(wish.key) or known.get(wish.key), now=wish.key in ended)
        for wish in wishes
    ]


async def refusals(db: Statements, wishes: Sequence[Wish]) -> dict[Key, Exception]:
    """Who may not wish what they wish, as they are now, and why."""
    callers = [Key(wish.viewer.user_id, wish.viewer.session_id) for wish in wishes]
    found = await sessions.find_many(db, callers) if callers else {}
    refused: dict[Key, Exception] = {}
    for wish, caller in zip(wishes, callers, strict=True):
        try:
            await wish.judge(found.get(caller))
        except Refused as error:
            refused[wish.key] = error
    return refused


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
