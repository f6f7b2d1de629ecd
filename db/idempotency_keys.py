"""Statements about idempotency keys: which createSession was done under which."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.statements import text

LIFETIME = timedelta(minutes=10)  # within which a retry finds what the first request made


@dataclass(frozen=True, slots=True)
class IdempotencyRow:
    """What was done under a key."""

    request_hash: bytes
    user_id: UUID
    session_id: UUID


async def take(db: AsyncConnection, key_hash: bytes, new: IdempotencyRow) -> IdempotencyRow | None:
    """Takes a key for what is about to be done; what was done under it instead, if anything was.

    Of two at the same moment the second waits for the first one's transaction.
    """
    taken = await db.execute(
        text("""
            INSERT INTO idempotency_keys AS k (key_hash, request_hash, user_id, session_id)
            VALUES (:key_hash, :request_hash, :user_id, :session_id)
            ON CONFLICT (key_hash) DO UPDATE
            SET request_hash = excluded.request_hash, user_id = excluded.user_id,
                session_id = excluded.session_id, created_at = now()
            WHERE k.created_at < now() - CAST(:lifetime AS interval)
            RETURNING k.key_hash
        """),
        {
            "key_hash": key_hash,
            "request_hash": new.request_hash,
            "user_id": new.user_id,
            "session_id": new.session_id,
            "lifetime": LIFETIME,
        },
    )
    if taken.one_or_none():
        return None
    found = await db.execute(
        text("""
            SELECT request_hash, user_id, session_id FROM idempotency_keys
            WHERE key_hash = :key_hash
        """),
        {"key_hash": key_hash},
    )
    return IdempotencyRow(*found.one())
