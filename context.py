"""The door: header, token, live session, Viewer. Everything that is guarded comes after it.

It decides; how a refusal is rendered stands in web/refusals.py.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.errors import BadRequest, Forbidden, ProofNotFresh, Reason, Unauthenticated
from auth.keys import KeyRing
from auth.oidc import Providers
from auth.passwords import Passwords
from auth.throttle import Throttle
from auth.tokens import Claims, Profile, Verifier, refuse_untimely
from auth.viewer import Viewer
from db import identities, sessions, users
from db.activity import Activity, Use
from db.clock import Clock
from db.endings import Ending
from db.engine import Database
from db.events import Actor, By
from db.identities import IdentityRow
from db.sessions import Key, OwnedSession, SessionRow
from db.shared import Shared
from db.together import Together
from db.turns import Turns
from live.connections import Connections
from live.held import Feed

T = TypeVar("T")
Asked = asyncio.Future[OwnedSession | None]  # a look-up that was asked for

# RFC 6750 2.1, with one or more spaces: the scheme in any case, one token of these characters.
BEARER = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)

IN_TIME = 0.9  # of a request's time for the database: what begins later is hardly done by its end
GUEST_IDLE_TIMEOUT = timedelta(hours=24)  # until its first use: most guests never come back


@dataclass(frozen=True)
class Policy:
    """What a new session is given, how many a user may have, and how long an ended one is kept."""

    absolute_lifetime: timedelta
    idle_timeout: timedelta | None  # none: idling ends nothing
    activity_resolution: timedelta
    retention: timedelta
    max_sessions: int
    reject_on_limit: bool  # or else the oldest makes room
    guests_per_minute: int  # of one network; 0: as many as come
    fresh_for: timedelta | None  # how old a proof may be for dangerous acts; none: as old as it is
    address_detail: str  # how much of an address is kept with a session: full, masked or off

    def idle_timeouts(self, *, is_guest: bool) -> tuple[timedelta | None, timedelta | None]:
        """A new session's idle timeout, and the one that its first use puts into its place."""
        if self.idle_timeout and is_guest and self.idle_timeout > GUEST_IDLE_TIMEOUT:
            return GUEST_IDLE_TIMEOUT, self.idle_timeout
        return self.idle_timeout, None


@dataclass(frozen=True)
class Services:
    """What every request shares in one process."""

    database: Database
    found: Together[Key, OwnedSession]  # sessions by their keys, for the door
    found_with_live: Together[Key, OwnedSession]  # the same, with their users' live sessions
    guests: Shared[Any, Any]  # beginnings and endings that wait at the same time
    endings: Shared[Ending, SessionRow]
    clock: Clock
    keys: KeyRing
    profile: Profile
    tokens: Verifier
    policy: Policy
    activity: Activity
    turns: Turns
    passwords: Passwords
    providers: Providers
    throttle: Throttle
    live: Connections


class Origin(NamedTuple):
    """Where a request comes from."""

    user_agent: str | None = None
    address: str | None = None  # as much of it as may be kept with a session
    network: str = ""  # whose guests are counted together: an IPv4 address or an IPv6 /64


NOWHERE = Origin()


class Context:
    """What a resolver is given: who calls from where, and a database that answers in time."""

    __slots__ = ("_deadline", "feed", "has_begun", "origin", "services", "viewer")

    def __init__(
        self,
        services: Services,
        viewer: Viewer | None,
        origin: Origin = NOWHERE,
        feed: Feed | None = None,
    ) -> None:
        """feed: what a subscription listens to."""
        self.services = services
        self.viewer = viewer
        self.origin = origin
        self.feed = feed
        self.has_begun = False  # a session, which the answer's token is for
        self._deadline = 0.0  # none yet

    @property
    def deadline(self) -> float:
        """When the request's time for the database is up, on the event loop's clock.

        It begins when the first field asks: many need no more than what the door has read.
        """
        if not self._deadline:
            self._deadline = asyncio.get_running_loop().time() + self.services.database.timeout
        return self._deadline

    @property
    def latest(self) -> float:
        """When it is too late to begin with a write, in seconds since 1970 on the database's clock.

        For a statement that commits by itself. A network may hold it back, and it must not be
        done long after its request was refused. Infinite where the database's clock is not known.
        """
        now = self.services.clock.known()
        if now is None:
            return math.inf
        return now + IN_TIME * (self.deadline - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def begin(self, turn: Hashable = None) -> AsyncIterator[AsyncConnection]:
        """A transaction of one's own, no two resolvers share one.

        It waits for others of the same turn (a key, a code, a network), then for the caller's own.
        """
        async with AsyncExitStack() as stack:
            for what in (turn, self.viewer and self.viewer.user_id):
                if what is not None:
                    await stack.enter_async_context(
                        self.services.turns.take(what, deadline=self.deadline)
                    )
            transaction = self.services.database.begin(deadline=self.deadline)
            yield await stack.enter_async_context(transaction)

    def by(self, viewer: Viewer, actor: Actor = Actor.USER) -> By:
        """The caller, for the history."""
        return By(actor, viewer.user_id, viewer.session_id, self.origin.address)

    async def identities_of(self, user_id: UUID) -> list[IdentityRow]:
        """The identities of a user, if that is the caller: they are nobody else's business."""
        if self.viewer is None or self.viewer.user_id != user_id:
            return []
        return await self.read(lambda db: identities.of_user(db, user_id))

    async def read(self, query: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """A query function's answer."""
        return await self.services.database.read(query, deadline=self.deadline)


Info = strawberry.Info[Context, None]


async def admit(
    services: Services,
    authorization: Sequence[bytes],
    *,
    address: str | None,
    with_live: bool = False,
    asked: Asked | None = None,
) -> Viewer | None:
    """The caller of a request: nobody without a credential, refused with a bad one.

    authorization: the values of the request's Authorization headers; address: as much of the
    client's as may be kept with a session; with_live: whether to read the caller's live sessions
    along; asked: for the session, where that was done when the request came. A forged token costs
    no statement, a good one costs one; that the session was used is noted for later. Raises
    BadRequest, Unauthenticated, Unavailable.
    """
    claims = claims_in(services.tokens, authorization)
    if claims is None:
        return None
    now = services.clock.known() or await services.clock.now(services.database)
    refuse_untimely(claims, now=now)
    key = Key(claims.user_id, claims.session_id)
    try:
        found = await (asked or ask(services, key, with_live=with_live))
    finally:
        del asked  # it holds what it failed with, whose traceback would hold it
    viewer = judge(found)
    if found and found.is_use_due:
        services.activity.note(key, Use(now, address))
    return viewer


def ask(services: Services, key: Key, *, with_live: bool) -> Asked:
    """Asks for a session as it is from now on; with_live: and for its user's live ones."""
    return (services.found_with_live if with_live else services.found).ask(key)


def claims_in(tokens: Verifier, authorization: Sequence[bytes]) -> Claims | None:
    """What the token of a request says; None when it sent no credential.

    Raises BadRequest and Unauthenticated.
    """
    if len(authorization) == 1 and (kept := tokens.kept(authorization[0])):
        return kept
    token = bearer(authorization)
    return tokens.verify(token, authorization[0]) if token else None


def bearer(authorization: Sequence[bytes]) -> str | None:
    """The token of a request; None when it sent no credential. Never the first of two."""
    if not authorization:
        return None
    if len(authorization) > 1:
        raise BadRequest
    scheme = authorization[0].partition(b" ")[0].lower()
    if scheme and scheme != b"bearer":
        raise Unauthenticated(Reason.TOKEN_INVALID)
    match = BEARER.fullmatch(authorization[0].strip(b" \t"))
    if match is None:
        raise BadRequest
    return match[1].decode("ascii")


def judge(found: OwnedSession | None) -> Viewer:
    """The viewer whose session this is. Raises Unauthenticated, with the reason, unless it is live.

    All causes of refusal count: one mark never hides another.
    """
    if found is None:
        raise Unauthenticated(Reason.SESSION_NOT_FOUND)
    session, user = found.session, found.user
    if session.revoked_at is not None:
        raise Unauthenticated(
            Reason.SESSION_REVOKED,
            revoked_at=session.revoked_at,
            revoked_reason=session.revoked_reason,
        )
    if user.disabled_at is not None:
        raise Unauthenticated(Reason.USER_DISABLED)
    if not session.is_live:
        idle_first = session.idle_expires_at and session.idle_expires_at < session.expires_at
        raise Unauthenticated(Reason.SESSION_IDLE if idle_first else Reason.SESSION_EXPIRED)
    return Viewer(found)


async def hold(db: AsyncConnection, viewer: Viewer, *others: UUID) -> Viewer:
    """The caller as they are now, the user rows of theirs and of others locked.

    So nothing that was under way outlives a revoke. Two statements: the second sees what
    committed while the first waited. Raises Unauthenticated.
    """
    await users.lock(db, viewer.user_id, *others)
    return judge(await sessions.find(db, viewer.user_id, viewer.session_id))


def administrator(viewer: Viewer) -> Viewer:
    """A caller who may do what administrators do; never a guest. Raises Forbidden."""
    if not viewer.user.is_administrator or viewer.user.is_guest:
        raise Forbidden
    return viewer


async def fresh(context: Context, viewer: Viewer) -> Viewer:
    """A caller whose proof is young enough for a dangerous act. Raises ProofNotFresh.

    Guests have nothing to prove.
    """
    longest = context.services.policy.fresh_for
    if longest and not viewer.user.is_guest and await age_of_proof(context, viewer) > longest:
        raise ProofNotFresh(longest // timedelta(seconds=1))
    return viewer


async def age_of_proof(context: Context, viewer: Viewer) -> timedelta:
    """How long ago the caller proved who they are, on the database's clock."""
    now = await context.services.clock.now(context.services.database)
    return timedelta(seconds=now - viewer.session.authenticated_at.timestamp())


def signed_in(info: Info) -> Viewer:
    """The caller of a guarded field. Raises Unauthenticated when nobody is."""
    if info.context.viewer is None:
        raise Unauthenticated
    return info.context.viewer
