"""A hand-written REST service: Starlette, PyJWT, asyncpg."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import jwt
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

SECRET = os.environ["JWT_SECRET"]
ISSUER = os.environ["JWT_ISSUER"]
AUDIENCE = os.environ["JWT_AUDIENCE"]
HEADERS = {"typ": "at+jwt", "kid": os.environ["JWT_KID"]}

LIVE = """s.revoked_at IS NULL AND s.expires_at > now() AND (s.idle_timeout IS NULL
    OR s.last_active_at + s.idle_timeout + s.activity_resolution > now())"""

CHECK = f"""SELECT u.id, u.username FROM user_sessions s JOIN users u ON u.id = s.user_id
    WHERE s.user_id = $1 AND s.id = $2 AND u.disabled_at IS NULL AND {LIVE}"""

LIST = f"""SELECT s.id, s.label, s.created_at, s.last_active_at, s.expires_at
    FROM user_sessions s WHERE s.user_id = $1 AND {LIVE}
    ORDER BY s.id = $2 DESC, s.last_active_at DESC, s.id DESC"""

CREATE = """WITH name AS (
        INSERT INTO usernames (username_key, user_id) VALUES ($3, $1)
    ), person AS (
        INSERT INTO users (id, username, is_guest) VALUES ($1, $3, true)
    ), begun AS (
        INSERT INTO user_sessions (user_id, id, label, expires_at, idle_timeout,
            idle_timeout_once_used, activity_resolution, user_agent, ip_address)
        VALUES ($1, $2, $4, now() + interval '720 h', interval '24 h', interval '336 h',
            interval '60 s', $5, CAST(CAST($6 AS text) AS inet))
        RETURNING id, label, created_at, expires_at
    ), event AS (
        INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
            actor_session_id, ip_address)
        VALUES ($1, $7, $2, 'CREATED', 'USER', $1, $2, CAST(CAST($6 AS text) AS inet))
    ) SELECT * FROM begun"""

REVOKE = f"""WITH ended AS (
        UPDATE user_sessions s
        SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER', revoked_by = $3
        WHERE s.user_id = $1 AND s.id = $2 AND {LIVE} RETURNING s.user_id, s.id
    ) INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
            actor_session_id, reason, ip_address)
        SELECT user_id, $4, id, 'REVOKED', 'USER', $1, $3, 'REVOKED_BY_USER',
            CAST(CAST($5 AS text) AS inet) FROM ended
        RETURNING session_id"""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who calls."""

    id: UUID
    username: str
    session_id: UUID


async def authenticate(request: Request) -> Viewer:
    """The caller, or 401."""
    _, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        user_id, session_id = UUID(claims["sub"]), UUID(claims["sid"])
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise HTTPException(401) from None
    row = await request.app.state.pool.fetchrow(CHECK, user_id, session_id)
    if row is None:
        raise HTTPException(401)
    return Viewer(row["id"], row["username"], session_id)


async def me(request: Request) -> JSONResponse:
    """Who the caller is."""
    viewer = await authenticate(request)
    return JSONResponse({"id": str(viewer.id), "username": viewer.username})


async def list_sessions(request: Request) -> JSONResponse:
    """The caller's live sessions."""
    viewer = await authenticate(request)
    rows = await request.app.state.pool.fetch(LIST, viewer.id, viewer.session_id)
    return JSONResponse([to_json(row, viewer) for row in rows])


def to_json(row: Any, viewer: Viewer) -> dict[str, Any]:
    """A session as clients see it."""
    return {
        "id": str(row["id"]),
        "label": row["label"],
        "status": "ACTIVE",
        "isCurrent": row["id"] == viewer.session_id,
        "createdAt": row["created_at"].isoformat(),
        "lastActiveAt": row["last_active_at"].isoformat(),
        "expiresAt": row["expires_at"].isoformat(),
    }


async def create_session(request: Request) -> JSONResponse:
    """A guest, and their first session."""
    user_id, session_id, name = uuid4(), uuid4(), f"guest-{secrets.token_hex(6)}"
    agent, address = request.headers.get("user-agent"), request.client.host
    row = await request.app.state.pool.fetchrow(
        CREATE, user_id, session_id, name, "new device", agent, address, uuid4()
    )
    return JSONResponse(
        {
            "token": mint(user_id, row),
            "expiresAt": row["expires_at"].isoformat(),
            "session": {"id": str(session_id), "label": row["label"]},
        },
        status_code=201,
    )


def mint(user_id: UUID, row: Any) -> str:
    """The token of a session."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "client_id": os.environ["JWT_CLIENT_ID"],
        "sub": str(user_id),
        "sid": str(row["id"]),
        "jti": str(uuid4()),
        "iat": row["created_at"],
        "nbf": row["created_at"],
        "exp": row["expires_at"],
    }
    return jwt.encode(claims, SECRET, algorithm="HS256", headers=HEADERS)


async def revoke_session(request: Request) -> JSONResponse:
    """Ends one of the caller's sessions."""
    viewer = await authenticate(request)
    ended = await request.app.state.pool.fetchval(
        REVOKE,
        viewer.id,
        request.path_params["id"],
        viewer.session_id,
        uuid4(),
        request.client.host,
    )
    return JSONResponse({"status": "REVOKED" if ended else "NOT_FOUND"})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Opens the pool; where to stands in the PG* variables."""
    async with asyncpg.create_pool(min_size=10, max_size=10) as pool:
        app.state.pool = pool
        yield


app = Starlette(
    routes=[
        Route("/me", me),
        Route("/sessions", list_sessions, methods=["GET"]),
        Route("/sessions", create_session, methods=["POST"]),
        Route("/sessions/{id:uuid}", revoke_session, methods=["DELETE"]),
    ],
    lifespan=lifespan,
)
