"""Beginning, listing and ending sessions."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import strawberry
import structlog
import uuid6
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import TypeIs

from auth import names, tokens
from auth.errors import Unauthenticated
from auth.viewer import Viewer
from context import Context, Info, hold, signed_in
from db import sessions, users
from db.sessions import RevokedReason, SessionRow
from db.users import UserRow
from resolvers.users import to_user
from schema.types import (
    CreateSessionInput,
    CreateSessionPayload,
    RevokeSessionPayload,
    RevokeSessionStatus,
    Session,
    SessionPolicy,
    SessionRevokedReason,
    SessionStatus,
    UserError,
    UserErrorCode,
)

NAME_ROUNDS = 3  # after which not even two words and eight digits were free: something is wrong

T = TypeVar("T")

log = structlog.get_logger()


def current_session(info: Info) -> Session | None:
    """The caller's own session, as the door read it."""
    caller = info.context.viewer
    return to_session(caller.session, caller.user, is_current=True) if caller else None


async def my_sessions(info: Info) -> list[Session]:
    """The caller's live sessions: the current one first, then the most recently active."""
    viewer = signed_in(info)
    rows = await info.context.read(
        lambda db: sessions.live(db, viewer.user_id, first=viewer.session_id)
    )
    return [to_session(row, viewer.user, is_current=row.id == viewer.session_id) for row in rows]


def session_policy(info: Info) -> SessionPolicy:
    """The operator's policy, in seconds."""
    policy = info.context.services.policy
    return SessionPolicy(
        absolute_lifetime=policy.absolute_lifetime // timedelta(seconds=1),
        retention=policy.retention // timedelta(seconds=1),
    )


async def create_session(
    info: Info,
    input: CreateSessionInput | None = strawberry.UNSET,  # noqa: A002 - the contract's name
) -> CreateSessionPayload:
    """A guest and its first session."""
    label = input.label if input else None
    if is_given(label):
        label = names.clean_label(label)
        if label is None:
            return refused_label()
    guest = await begin_guest(info.context, label=label or names.two_words())
    return CreateSessionPayload(
        token=guest.token,
        token_type="Bearer",  # noqa: S106 - RFC 6750's word
        expires_at=guest.session.expires_at,
        session=to_session(guest.session, guest.user, is_current=True),
        user_errors=[],
    )


def refused_label() -> CreateSessionPayload:
    """Nothing was created, because a person could not have meant this label."""
    return CreateSessionPayload(
        token=None,
        token_type="Bearer",  # noqa: S106 - RFC 6750's word
        expires_at=None,
        session=None,
        user_errors=[
            UserError(
                code=UserErrorCode.INVALID_LABEL,
                message="A label has 1 to 64 characters and no control characters.",
                path=["input", "label"],
            )
        ],
    )


@dataclass(frozen=True)
class SignedIn:
    """A session that has just begun, and the token that opens it."""

    token: str
    session: SessionRow
    user: UserRow


async def begin_guest(context: Context, *, label: str) -> SignedIn:
    """A new user of whom nothing is known, and its first session, in one transaction."""
    policy = context.services.policy
    async with context.begin() as db:
        if context.viewer:
            await hold(db, context.viewer)
        user = await new_guest(db)
        session = await sessions.create(
            db,
            user.id,
            uuid6.uuid7(),
            label=label,
            absolute_lifetime=policy.absolute_lifetime,
            activity_resolution=policy.activity_resolution,
        )
    log.info("session_created", user=str(user.id), session=str(session.id))
    return SignedIn(mint(context, session), session, user)


async def new_guest(db: AsyncConnection) -> UserRow:
    """A guest under a name that was free."""
    user_id = uuid6.uuid7()
    for _ in range(NAME_ROUNDS):
        username = await users.claim_name(db, user_id, names.username_candidates())
        if username:
            return await users.create_guest(db, user_id, username)
    raise RuntimeError("no generated name was free")


def mint(context: Context, session: SessionRow) -> str:
    """The session's token."""
    return tokens.mint(
        context.services.keys,
        context.services.profile,
        user_id=session.user_id,
        session_id=session.id,
        created_at=session.created_at,
        expires_at=session.expires_at,
    )


async def revoke_session(
    info: Info,
    id: strawberry.ID | None = strawberry.UNSET,  # noqa: A002 - the contract's name
) -> RevokeSessionPayload:
    """Ends a session before it answers; without id, the caller's own."""
    viewer = signed_in(info)
    target = parse_id(id) if is_given(id) else viewer.session_id
    if target is None:
        return RevokeSessionPayload(status=RevokeSessionStatus.NOT_FOUND, session=None)
    status, row = await end(info.context, viewer, target)
    own = target == viewer.session_id
    return RevokeSessionPayload(
        status=status, session=to_session(row, viewer.user, is_current=own) if row else None
    )


async def end(
    context: Context, viewer: Viewer, target: UUID
) -> tuple[RevokeSessionStatus, SessionRow | None]:
    """Ends a session of the caller's user; what became of it.

    Signing out of a session that was ended meanwhile is what was wanted. Ending another one from
    it is refused (Unauthenticated): a revoked device can do nothing more.
    """
    own = target == viewer.session_id
    reason = RevokedReason.SIGNED_OUT if own else RevokedReason.REVOKED_BY_USER
    async with context.begin() as db:
        try:
            await hold(db, viewer)
        except Unauthenticated:
            if not own:
                raise
        ended = await sessions.revoke(
            db, viewer.user_id, target, reason=reason, by=viewer.session_id
        )
        known = ended or await sessions.confirm_ended(db, viewer.user_id, target)
    if ended:
        log.info(
            "session_revoked",
            user=str(viewer.user_id),
            session=str(target),
            by=str(viewer.session_id),
            reason=reason.value,
        )
        return RevokeSessionStatus.REVOKED, ended
    if known or own:
        return RevokeSessionStatus.ALREADY_ENDED, known
    return RevokeSessionStatus.NOT_FOUND, None


def is_given(value: T | None) -> TypeIs[T]:
    """Whether an optional input was sent: null and absent are one to this contract."""
    return value is not None and value is not strawberry.UNSET


def parse_id(id: str) -> UUID | None:  # noqa: A002 - the contract's name
    """None for what is no id: to a caller, malformed, unknown and not yours are one answer."""
    try:
        parsed = UUID(id)
    except ValueError:
        return None
    return parsed if str(parsed) == id else None


def to_session(row: SessionRow, user: UserRow, *, is_current: bool) -> Session:
    """The public type of a session's row."""
    return Session(
        id=strawberry.ID(str(row.id)),
        user=to_user(user),
        label=row.label,
        status=status_of(row),
        is_current=is_current,
        created_at=row.created_at,
        last_active_at=row.last_active_at,
        authenticated_at=row.authenticated_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        revoked_reason=SessionRevokedReason(row.revoked_reason) if row.revoked_reason else None,
    )


def status_of(row: SessionRow) -> SessionStatus:
    """A session's state when it was read; one that was revoked stays so after its deadline."""
    if row.revoked_at is not None:
        return SessionStatus.REVOKED
    return SessionStatus.ACTIVE if row.is_live else SessionStatus.EXPIRED
