"""What a caller sees of their sessions, and what they call them."""

from datetime import timedelta
from uuid import UUID

import strawberry

from auth import names
from context import Info, hold, signed_in
from db import events, sessions
from db.events import Kind
from db.sessions import SessionRow
from db.users import UserRow
from resolvers.users import to_user
from schema.types import (
    RenameSessionPayload,
    Session,
    SessionClient,
    SessionLimitAction,
    SessionPolicy,
    SessionRevokedReason,
    SessionStatus,
    User,
    UserError,
    UserErrorCode,
)

STATUSES = {status.value: status for status in SessionStatus}
MAX_ENDED = 100  # of the ended sessions that a list may have behind the live ones


def current_session(info: Info) -> Session | None:
    """The caller's own session, as the door read it."""
    caller = info.context.viewer
    return to_session(caller.session, caller.user, is_current=True) if caller else None


async def my_sessions(info: Info, *, include_ended: bool = False) -> list[Session]:
    """The caller's live sessions: the current one first, then the most recently active.

    With include_ended those that ended last follow.
    """
    viewer = signed_in(info)
    own = viewer.session_id
    if include_ended:
        rows = await info.context.read(
            lambda db: sessions.live_and_ended(db, viewer.user_id, first=own, limit=MAX_ENDED)
        )
    elif viewer.live is None:
        rows = await info.context.read(lambda db: sessions.live(db, viewer.user_id, first=own))
    else:
        rows = sessions.with_first(viewer.live, own)
    owner = to_user(viewer.user)
    return [session_of(owner, row, is_current=row.id == own) for row in rows]


def session_policy(info: Info) -> SessionPolicy:
    """The operator's policy, in seconds."""
    policy = info.context.services.policy
    return SessionPolicy(
        absolute_lifetime=seconds(policy.absolute_lifetime),
        idle_timeout=seconds(policy.idle_timeout) if policy.idle_timeout else None,
        max_sessions_per_user=policy.max_sessions,
        on_limit=(
            SessionLimitAction.REJECT
            if policy.reject_on_limit
            else SessionLimitAction.REVOKE_OLDEST
        ),
        activity_resolution=seconds(policy.activity_resolution),
        retention=seconds(policy.retention),
    )


async def rename_session(
    info: Info,
    id: strawberry.ID,  # noqa: A002 - the contract's name
    label: str,
) -> RenameSessionPayload:
    """Calls one of the caller's live sessions something else."""
    viewer = signed_in(info)
    cleaned, target = names.clean_label(label), parse_id(id)
    async with info.context.begin() as db:
        await hold(db, viewer)
        row = None
        if cleaned and target:
            row = await sessions.rename(db, viewer.user_id, target, cleaned)
        await events.record(db, Kind.RENAMED, [row] if row else [], info.context.by(viewer))
    if row is None:
        error = not_found("id") if cleaned else invalid_label("label")
        return RenameSessionPayload(session=None, user_errors=[error])
    renamed = to_session(row, viewer.user, is_current=row.id == viewer.session_id)
    return RenameSessionPayload(session=renamed, user_errors=[])


def not_found(*path: str) -> UserError:
    """What a person is told whose session is not there, or somebody else's."""
    return UserError(
        code=UserErrorCode.NOT_FOUND,
        message="You have no live session of this id.",
        path=list(path),
    )


def invalid_label(*path: str) -> UserError:
    """What a person is told who typed no label."""
    return UserError(
        code=UserErrorCode.INVALID_LABEL,
        message="A label has 1 to 64 characters and no control characters.",
        path=list(path),
    )


def parse_id(id: str) -> UUID | None:  # noqa: A002 - the contract's name
    """None for what is no id: to a caller, malformed, unknown and not yours are one answer."""
    try:
        parsed = UUID(id)
    except ValueError:
        return None
    return parsed if str(parsed) == id else None


def to_session(row: SessionRow, user: UserRow, *, is_current: bool) -> Session:
    """The public type of a session's row."""
    return session_of(to_user(user), row, is_current=is_current)


def session_of(owner: User, row: SessionRow, *, is_current: bool) -> Session:
    """The public type of a session's row, of a user whom several rows may share."""
    return Session(
        id=strawberry.ID(str(row.id)),
        user=owner,
        label=row.label,
        status=STATUSES[row.status],
        is_current=is_current,
        created_at=row.created_at,
        last_active_at=row.last_active_at,
        authenticated_at=row.authenticated_at,
        expires_at=row.expires_at,
        idle_expires_at=row.idle_expires_at,
        revoked_at=row.revoked_at,
        revoked_reason=SessionRevokedReason(row.revoked_reason) if row.revoked_reason else None,
        client=SessionClient(
            user_agent=row.user_agent,
            name=row.client_name,
            os=row.client_os,
            device_type=row.device_type,
            ip_address=row.ip_address,
        ),
    )


def seconds(duration: timedelta) -> int:
    """A duration in the contract's unit."""
    return duration // timedelta(seconds=1)
