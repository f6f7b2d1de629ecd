"""A session server as one writes it first: Strawberry's ASGI view, AsyncSession, the ORM, PyJWT."""

import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import jwt
import strawberry
from models import SessionEvent, User, Username, UserSession
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import joinedload
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.asgi import GraphQL

SECRET = os.environ["JWT_SECRET"]
ISSUER = os.environ["JWT_ISSUER"]
AUDIENCE = os.environ["JWT_AUDIENCE"]
HEADERS = {"typ": "at+jwt", "kid": os.environ["JWT_KID"]}

engine = create_async_engine("postgresql+asyncpg://", pool_size=10, max_overflow=0)
Session = async_sessionmaker(engine, expire_on_commit=False)


@dataclass
class Context:
    """What a resolver is given."""

    request: Request
    current: UserSession | None

    @property
    def session(self) -> UserSession:
        """The caller's session."""
        if self.current is None:
            raise PermissionError("sign in first")
        return self.current


Info = strawberry.Info[Context, None]


@strawberry.type(name="User")
class UserType:
    """A user, as clients see them."""

    id: strawberry.ID
    username: str


@strawberry.type(name="Session")
class SessionType:
    """A session, as clients see it."""

    id: strawberry.ID
    label: str
    status: str
    is_current: bool
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime


@strawberry.type
class CreateSessionPayload:
    """A new session and its token."""

    token: str
    expires_at: datetime
    session: SessionType


@strawberry.type
class RevokeSessionPayload:
    """What became of a session."""

    status: str


def to_session(row: UserSession, current: UserSession) -> SessionType:
    """A row as clients see it."""
    return SessionType(
        id=strawberry.ID(str(row.id)),
        label=row.label,
        status="ACTIVE",
        is_current=row.id == current.id,
        created_at=row.created_at,
        last_active_at=row.last_active_at,
        expires_at=row.expires_at,
    )


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    def viewer(self, info: Info) -> UserType | None:
        """The caller."""
        current = info.context.current
        if current is None:
            return None
        return UserType(id=strawberry.ID(str(current.user.id)), username=current.user.username)

    @strawberry.field
    async def my_sessions(self, info: Info) -> list[SessionType]:
        """The caller's live sessions."""
        own, now = info.context.session, datetime.now(timezone.utc)
        async with Session() as db:
            rows = await db.scalars(
                select(UserSession)
                .where(UserSession.user_id == own.user_id, UserSession.revoked_at.is_(None))
                .order_by(UserSession.last_active_at.desc())
            )
        live = [row for row in rows if row.is_live(now)]
        return [to_session(row, own) for row in sorted(live, key=lambda row: row.id != own.id)]


@strawberry.type
class Mutation:
    """What can be done."""

    @strawberry.mutation
    async def create_session(self, info: Info) -> CreateSessionPayload:
        """A guest and their first session."""
        request = info.context.request
        user = User(id=uuid4(), username=f"guest-{secrets.token_hex(6)}", is_guest=True)
        session = UserSession(
            id=uuid4(),
            user=user,
            label="new device",
            expires_at=datetime.now(timezone.utc) + timedelta(days=30),
            idle_timeout=timedelta(hours=24),
            idle_timeout_once_used=timedelta(days=14),
            activity_resolution=timedelta(seconds=60),
            user_agent=request.headers.get("user-agent"),
            ip_address=request.client.host,
        )
        name = Username(username_key=user.username, user_id=user.id)
        event = happened("CREATED", session.id, user.id, session.id, request)
        async with Session.begin() as db:
            db.add_all([name, user, session, event])
        return CreateSessionPayload(
            token=mint(session),
            expires_at=session.expires_at,
            session=to_session(session, session),
        )

    @strawberry.mutation
    async def revoke_session(self, info: Info, id: strawberry.ID) -> RevokeSessionPayload:
        """Ends one of the caller's sessions."""
        own, now = info.context.session, datetime.now(timezone.utc)
        async with Session.begin() as db:
            row = await db.get(UserSession, (own.user_id, UUID(id)), with_for_update=True)
            if row is None or not row.is_live(now):
                return RevokeSessionPayload(status="NOT_FOUND")
            row.revoked_at, row.revoked_reason, row.revoked_by = now, "REVOKED_BY_USER", own.id
            event = happened("REVOKED", row.id, own.user_id, own.id, info.context.request)
            event.reason = row.revoked_reason
            db.add(event)
        return RevokeSessionPayload(status="REVOKED")


def happened(
    kind: str, session_id: UUID, user_id: UUID, by: UUID, request: Request
) -> SessionEvent:
    """A line of the history."""
    return SessionEvent(
        user_id=user_id,
        id=uuid4(),
        session_id=session_id,
        kind=kind,
        actor="USER",
        actor_user_id=user_id,
        actor_session_id=by,
        ip_address=request.client.host,
    )


def mint(session: UserSession) -> str:
    """The token of a session."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "client_id": os.environ["JWT_CLIENT_ID"],
        "sub": str(session.user.id),
        "sid": str(session.id),
        "jti": str(uuid4()),
        "iat": session.created_at,
        "nbf": session.created_at,
        "exp": session.expires_at,
    }
    return jwt.encode(claims, SECRET, algorithm="HS256", headers=HEADERS)


async def authenticate(authorization: str) -> UserSession:
    """The caller's session with its user, or 401."""
    try:
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            SECRET,
            algorithms=["HS256"],
            audience=AUDIENCE,
            issuer=ISSUER,
        )
        user_id, session_id = UUID(claims["sub"]), UUID(claims["sid"])
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise HTTPException(401) from None
    async with Session() as db:
        session = await db.get(
            UserSession, (user_id, session_id), options=[joinedload(UserSession.user)]
        )
    now = datetime.now(timezone.utc)
    if session is None or session.user.disabled_at or not session.is_live(now):
        raise HTTPException(401)
    return session


class View(GraphQL[Context, None]):
    """The endpoint: whoever sends a token must be signed in."""

    async def get_context(self, request: Any, response: Response) -> Context:
        """Looks at the caller before anything is executed."""
        del response
        authorization = request.headers.get("authorization")
        return Context(request, await authenticate(authorization) if authorization else None)


view = View(strawberry.Schema(query=Query, mutation=Mutation), graphql_ide=None)
app = Starlette(routes=[Route("/graphql", view)])
