"""Sign-ins a second, by link codes, at a cap of 50 sessions: of many users, and all of one user.

Each sign-in is a createSession through the application, without HTTP's parsing: the transaction
with its locks, the cap's look, the spent code, the new row, durable. A user who is at the cap loses
the oldest session at each. GUEST for scale: a new user each.
"""

import asyncio
import time
from typing import Any
from uuid import UUID

import strawberry
from ground import connected, fill, run, show
from pydantic import SecretStr

from app import make_services
from auth import codes
from context import Context
from resolvers.beginnings import Beginning, begin
from schema.types import CredentialsInput, LinkCodeInput
from settings import Settings

AT_ONCE = 32
SIGN_INS = 320
CAP = 50
ROUNDS = 5
SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"  # noqa: S105 - signs nothing that lives


async def make_codes(db: Any, owners: list[tuple[UUID, UUID]]) -> list[str]:
    """An open code of each of these sessions."""
    made = [codes.new_link_code() for _ in owners]
    await db.executemany(
        "INSERT INTO link_codes (code_hash, user_id, session_id, expires_at)"
        " VALUES ($1, $2, $3, now() + interval '1 h')",
        [(codes.link_code_hash(code), *owner) for code, owner in zip(made, owners, strict=True)],
    )
    return made


async def rate(services: Any, beginnings: list[Beginning]) -> float:
    """Sign-ins a second, so many at once."""
    waiting = iter(beginnings)

    async def client() -> None:
        for beginning in waiting:
            await begin(Context(services, None), beginning)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return len(beginnings) / (time.perf_counter() - began)


async def bench(url: str) -> None:
    """Measures and prints."""
    await fill(url, 2_000)
    services = make_services(
        Settings(
            DATABASE_URL=SecretStr(url),
            JWT_SECRET=SecretStr(SECRET),
            GUEST_RATE_LIMIT=0,
            LOGIN_RATE_LIMIT=0,
            SESSION_MAX_PER_USER=CAP,
            DATABASE_TIMEOUT=60,
        )
    )
    figures: dict[str, list[float]] = {}
    async with connected(url) as db:
        rows = await db.fetch("SELECT user_id, id FROM user_sessions")
        owners = [(row["user_id"], row["id"]) for row in rows]
        busiest = owners.pop()
        # Its code's own session is the newest, or the cap would end the codes.
        await db.execute(
            "UPDATE user_sessions SET created_at = now() + interval '1 d',"
            " expires_at = now() + interval '9 d' WHERE id = $1",
            busiest[1],
        )
        for _ in range(ROUNDS):
            many = [owners.pop() for _ in range(SIGN_INS)]
            for title, beginnings in (
                ("guests", [Beginning()] * SIGN_INS),
                ("link codes, a user each", await beginnings_of(db, many)),
                (f"link codes, one user at {CAP}", await beginnings_of(db, [busiest] * SIGN_INS)),
            ):
                figures.setdefault(title, []).append(await rate(services, beginnings))
            live = await db.fetchval(
                "SELECT count(*) FROM user_sessions WHERE user_id = $1 AND revoked_at IS NULL",
                busiest[0],
            )
            if live != CAP:
                raise RuntimeError(f"{live} live sessions at a cap of {CAP}")
    for title, values in figures.items():
        show(title, values, "a second")
    await services.database.close()


async def beginnings_of(db: Any, owners: list[tuple[UUID, UUID]]) -> list[Beginning]:
    """A sign-in of each of these sessions' users."""
    return [
        Beginning(credentials=CredentialsInput(link_code=strawberry.Some(LinkCodeInput(code=code))))
        for code in await make_codes(db, owners)
    ]


if __name__ == "__main__":
    run(bench)
