"""Statements about identities at OIDC providers, and the nonces that their tokens carry."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.statements import text


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """An identity that a user has linked."""

    id: UUID
    issuer: str
    subject: str
    linked_at: datetime


async def owner(db: AsyncConnection, issuer: str, subject: str) -> UUID | None:
    """Whose an identity is; None when nobody has linked it."""
    found = await db.execute(
        text("SELECT user_id FROM identities WHERE issuer = :issuer AND subject = :subject"),
        {"issuer": issuer, "subject": subject},
    )
    user_id: UUID | None = found.scalar_one_or_none()
    return user_id


async def of_user(db: AsyncConnection, user_id: UUID) -> list[IdentityRow]:
    """The user's identities, the one linked first first."""
    rows = await db.execute(
        text("""
            SELECT id, issuer, subject, linked_at FROM identities
            WHERE user_id = :user_id ORDER BY linked_at, id
        """),
        {"user_id": user_id},
    )
    return [IdentityRow(*row) for row in rows]


async def link(db: AsyncConnection, user_id: UUID, new_id: UUID, issuer: str, subject: str) -> bool:
    """Makes an identity the user's; False when somebody has it, or just got it."""
    linked = await db.execute(
        text("""
            INSERT INTO identities (issuer, subject, id, user_id)
            VALUES (:issuer, :subject, :id, :user_id)
            ON CONFLICT DO NOTHING RETURNING id
        """),
        {"issuer": issuer, "subject": subject, "id": new_id, "user_id": user_id},
    )
    return linked.one_or_none() is not None


async def unlink(db: AsyncConnection, user_id: UUID, identity_id: UUID) -> bool:
    """Takes an identity from the user; whether it was theirs."""
    unlinked = await db.execute(
        text("DELETE FROM identities WHERE id = :id AND user_id = :user_id RETURNING id"),
        {"id": identity_id, "user_id": user_id},
    )
    return unlinked.one_or_none() is not None


async def add_nonce(db: AsyncConnection, nonce_hash: bytes, *, lifetime: timedelta) -> datetime:
    """A nonce that may be used once; when it ends."""
    added = await db.execute(
        text("""
            INSERT INTO login_nonces (nonce_hash, expires_at)
            VALUES (:nonce_hash, now() + CAST(:lifetime AS interval)) RETURNING expires_at
        """),
        {"nonce_hash": nonce_hash, "lifetime": lifetime},
    )
    expires_at: datetime = added.scalar_one()
    return expires_at


@dataclass(frozen=True, slots=True)
class NonceRow:
    """A nonce that is open, or that was spent."""

    redeemed_session_id: UUID | None  # the session that was made with it, once spent


async def find_nonce(db: AsyncConnection, nonce_hash: bytes) -> NonceRow | None:
    """The nonce of a hash, unless it was never spent and cannot be any more."""
    found = await db.execute(
        text("""
            SELECT redeemed_session_id FROM login_nonces
            WHERE nonce_hash = :nonce_hash
              AND (redeemed_at IS NOT NULL OR expires_at > statement_timestamp())
        """),
        {"nonce_hash": nonce_hash},
    )
    row = found.one_or_none()
    return NonceRow(*row) if row else None


async def spend_nonce(db: AsyncConnection, nonce_hash: bytes, session_id: UUID) -> bool:
    """Spends an open nonce for a session that is about to be made; whether it was open."""
    spent = await db.execute(
        text("""
            UPDATE login_nonces SET redeemed_at = now(), redeemed_session_id = :session_id
            WHERE nonce_hash = :nonce_hash AND redeemed_at IS NULL
              AND expires_at > statement_timestamp()
            RETURNING nonce_hash
        """),
        {"nonce_hash": nonce_hash, "session_id": session_id},
    )
    return spent.one_or_none() is not None
