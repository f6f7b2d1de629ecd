"""FastAPI Users with its database strategy: opaque tokens, looked up on every request."""

import os
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users_db_sqlalchemy import SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import SQLAlchemyAccessTokenDatabase
from models import AccessToken, User
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

LIFETIME = timedelta(days=30)

engine = create_async_engine("postgresql+asyncpg://", pool_size=10, max_overflow=0)
new_session = async_sessionmaker(engine, expire_on_commit=False)


async def get_db() -> AsyncIterator[AsyncSession]:
    """A database session for a request."""
    async with new_session() as db:
        yield db


Db = Annotated[AsyncSession, Depends(get_db)]


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """Where users come from."""

    reset_password_token_secret = verification_token_secret = os.environ["JWT_SECRET"]


async def get_user_manager(db: Db) -> AsyncIterator[UserManager]:
    """The manager of a request."""
    yield UserManager(SQLAlchemyUserDatabase(db, User))


def get_strategy(db: Db) -> DatabaseStrategy:
    """Tokens are rows."""
    tokens = SQLAlchemyAccessTokenDatabase(db, AccessToken)
    return DatabaseStrategy(tokens, lifetime_seconds=int(LIFETIME.total_seconds()))


backend = AuthenticationBackend("database", BearerTransport("/login"), get_strategy)
users = FastAPIUsers[User, uuid.UUID](get_user_manager, [backend])

Current = Annotated[User, Depends(users.current_user(active=True))]
CurrentToken = Annotated[
    tuple[User, str], Depends(users.authenticator.current_user_token(active=True))
]
Manager = Annotated[UserManager, Depends(get_user_manager)]
Strategy = Annotated[DatabaseStrategy, Depends(get_strategy)]

router = APIRouter()


class Me(BaseModel):
    """The caller, as clients see them."""

    id: uuid.UUID
    username: str


class Session(BaseModel):
    """A session, as clients see it."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    id: uuid.UUID
    label: str
    status: str
    is_current: bool
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime


@router.get("/me")
async def me(user: Current) -> Me:
    """Who the caller is."""
    return Me(id=user.id, username=user.email)


@router.get("/sessions")
async def list_sessions(current: CurrentToken, db: Db) -> list[Session]:
    """The caller's sessions."""
    user, token = current
    rows = await db.scalars(
        select(AccessToken)
        .where(AccessToken.user_id == user.id)
        .order_by((AccessToken.token == token).desc(), AccessToken.last_active_at.desc())
    )
    return [
        Session(
            id=row.id,
            label=row.label,
            status="ACTIVE",
            is_current=row.token == token,
            created_at=row.created_at,
            last_active_at=row.last_active_at,
            expires_at=row.created_at + LIFETIME,
        )
        for row in rows
    ]


@router.post("/sessions", status_code=201)
async def create_session(manager: Manager, strategy: Strategy, db: Db) -> dict[str, Any]:
    """A guest, and their first session."""
    email = f"guest-{uuid.uuid4().hex[:12]}@example.org"
    user = await manager.user_db.create({"email": email, "hashed_password": "!"})
    token = await strategy.write_token(user)
    row = await db.get(AccessToken, token)
    return {
        "token": token,
        "expiresAt": row.created_at + LIFETIME,
        "session": {"id": row.id, "label": row.label},
    }


@router.delete("/sessions/{session_id}")
async def revoke_session(session_id: uuid.UUID, user: Current, db: Db) -> dict[str, str]:
    """Ends one of the caller's sessions."""
    row = await db.scalar(
        select(AccessToken).where(AccessToken.id == session_id, AccessToken.user_id == user.id)
    )
    if row is None:
        return {"status": "NOT_FOUND"}
    await db.delete(row)
    await db.commit()
    return {"status": "REVOKED"}


app = FastAPI()
app.include_router(router)
