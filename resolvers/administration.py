"""What administrators do: list sessions of all users, end them, disable a user."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import strawberry
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.errors import BadUserInput, TimedOut
from auth.viewer import Viewer
from context import Context, Info, administrator, fresh, hold, signed_in
from db import administration, session_search, users
from db.engine import Unavailable
from db.events import Actor
from db.session_search import Filter, TooSlow
from db.sessions import SessionRow
from db.users import UserRow
from resolvers.endings import SAMPLE, tell
from resolvers.optional import is_given
from resolvers.sessions import parse_id, to_session
from resolvers.users import to_user
from schema.types import (
    PageInfo,
    RevokeSessionsPayload,
    SessionConnection,
    SessionEdge,
    SessionFilter,
    SetUserDisabledPayload,
    SetUserDisabledStatus,
)

MAX_PAGE = 200  # sessions
TIME_TO_SPARE = 0.3  # of a request's time: then a bulk revocation answers what it did

log = structlog.get_logger()


async def sessions(
    info: Info,
    filter: SessionFilter | None = strawberry.UNSET,  # noqa: A002 - the contract's name
    first: int = 50,
    after: str | None = strawberry.UNSET,
) -> SessionConnection:
    """A page of everybody's sessions, newest first."""
    viewer = administrator(signed_in(info))
    if not 1 <= first <= MAX_PAGE:
        raise BadUserInput("first is out of range.", f"Ask for 1 to {MAX_PAGE} sessions a page")
    wanted = read_filter(filter if is_given(filter) else None)
    place = read_cursor(after) if is_given(after) else None
    async with searching(info.context) as db:
        found = await session_search.page(db, wanted, after=place, limit=first + 1)
    edges = [
        SessionEdge(
            cursor=cursor_of(row.session.id),
            node=to_session(row.session, row.user, is_current=row.session.id == viewer.session_id),
        )
        for row in found[:first]
    ]
    return SessionConnection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=len(found) > first,
            has_previous_page=place is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


async def revoke_sessions(
    info: Info,
    filter: SessionFilter,  # noqa: A002 - the contract's name
    *,
    dry_run: bool = False,
) -> RevokeSessionsPayload:
    """Ends the live sessions of a filter, but the caller's own; as many as there is time for."""
    viewer = await fresh(info.context, administrator(signed_in(info)))
    wanted = read_filter(filter)
    if wanted.is_empty:
        raise BadUserInput(
            "An empty filter means everybody's sessions.", "Say which: by user, time, address, …"
        )
    context = info.context
    if dry_run:
        async with searching(context) as db:
            await hold_administrator(db, viewer)
            count = await session_search.count_live(db, wanted, spare=viewer.session_id)
            found = await session_search.page(db, wanted, after=None, limit=SAMPLE + 1, live=True)
        sample = [
            to_session(row.session, row.user, is_current=False)
            for row in found
            if row.session.id != viewer.session_id
        ]
        return RevokeSessionsPayload(revoked_count=count, dry_run=True, sessions=sample[:SAMPLE])
    ended = await end_in_time(context, viewer, wanted)
    owners = await owners_of(context, ended[:SAMPLE])
    return RevokeSessionsPayload(
        revoked_count=len(ended),
        dry_run=False,
        sessions=[
            to_session(row, owners[row.user_id], is_current=False)
            for row in ended[:SAMPLE]
            if row.user_id in owners
        ],
    )


async def end_in_time(context: Context, viewer: Viewer, wanted: Filter) -> list[SessionRow]:
    """Ends batch after batch until nothing is left or the time is nearly up; what ended."""

    @asynccontextmanager
    async def begin(*owners: UUID) -> AsyncIterator[AsyncConnection]:
        async with searching(context) as db:
            await hold_administrator(db, viewer, *owners)
            yield db

    ended: list[SessionRow] = []
    enough = context.deadline - TIME_TO_SPARE * context.services.database.timeout
    batches = administration.revoke_where(
        begin, wanted, context.by(viewer, Actor.ADMIN), spare=viewer.session_id
    )
    try:
        async for batch in batches:
            ended += batch
            tell(batch, by=viewer.session_id)
            if ended and asyncio.get_running_loop().time() > enough:
                break
    except (Unavailable, TimedOut):
        if not ended:  # else what was done is told, and the next call goes on
            raise
    return ended


async def owners_of(context: Context, rows: list[SessionRow]) -> dict[UUID, UserRow]:
    """The users of sessions; none where there is no time left to ask."""
    ids = {row.user_id for row in rows}
    try:
        found = await context.read(lambda db: users.find_many(db, list(ids)))
    except Unavailable:
        return {}
    return {user.id: user for user in found}


async def set_user_disabled(
    info: Info,
    id: strawberry.ID,  # noqa: A002 - the contract's name
    *,
    disabled: bool,
) -> SetUserDisabledPayload:
    """Disables or enables a user; disabling ends all sessions."""
    viewer = await fresh(info.context, administrator(signed_in(info)))
    target = parse_id(id)
    if target is None:
        return SetUserDisabledPayload(user=None, status=SetUserDisabledStatus.NOT_FOUND)
    context = info.context
    async with context.begin() as db:
        await hold_administrator(db, viewer, target)
        changed, ended = await administration.set_disabled(
            db, target, context.by(viewer, Actor.ADMIN), disabled=disabled
        )
        user = await users.find(db, target)
    if user is None:
        return SetUserDisabledPayload(user=None, status=SetUserDisabledStatus.NOT_FOUND)
    log.info(
        "user_disabled" if disabled else "user_enabled", user=str(target), by=str(viewer.session_id)
    )
    tell(ended, by=viewer.session_id)
    return SetUserDisabledPayload(
        user=to_user(user),
        status=SetUserDisabledStatus.CHANGED if changed else SetUserDisabledStatus.UNCHANGED,
    )


async def hold_administrator(db: AsyncConnection, viewer: Viewer, *others: UUID) -> None:
    """Holds the caller, who must be an administrator still. Raises Unauthenticated, Forbidden."""
    administrator(await hold(db, viewer, *others))


@asynccontextmanager
async def searching(context: Context) -> AsyncIterator[AsyncConnection]:
    """A transaction in which a search that takes too long is told to the client."""
    try:
        async with context.begin() as db:
            yield db
    except TooSlow:
        raise TimedOut from None


def read_filter(sent: SessionFilter | None) -> Filter:
    """The filter that the input means; null and absent are one. Raises BadUserInput."""
    if sent is None:
        return Filter()
    names = [name for name in Filter.__slots__ if hasattr(sent, name)]
    given = {name: value for name in names if is_given(value := getattr(sent, name))}
    for name in ("label", "username"):
        if given.get(name) == "":  # which every label holds
            raise BadUserInput(f"{name} is empty.", "Leave it out, or say what to look for")
    if "user_id" in given:
        given["user_id"] = parse_id(given["user_id"]) or UUID(int=0)  # whom nobody is
    if "status" in given:
        given["status"] = given["status"].value
    try:
        if "ip_range" in given:
            given["ip_range"] = session_search.read_network(given["ip_range"])
        for value in given.values():
            if isinstance(value, datetime):
                session_search.refuse_odd_time(value)
    except ValueError as error:
        raise BadUserInput(f"{error}", "Look at the filter's descriptions in the schema") from None
    return Filter(**given)


def cursor_of(session_id: UUID) -> str:
    """A place in the list, opaque to the client."""
    return base64.urlsafe_b64encode(session_id.bytes).decode().rstrip("=")


def read_cursor(cursor: str) -> UUID:
    """The place that a cursor names. Raises BadUserInput."""
    try:
        place = UUID(bytes=base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        place = None
    if place is None or cursor_of(place) != cursor:
        raise BadUserInput("after is no cursor of ours.", "Send an endCursor as it was answered")
    return place
