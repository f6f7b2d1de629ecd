"""Statements about the networks from which somebody has proved that an account is theirs."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from db.statements import text
from db.users import NAME_KEY

MEMORY = timedelta(days=90)


async def remember(db: AsyncConnection, user_id: UUID, network: str) -> None:
    """Notes that a proof for the account has just succeeded from a network."""
    await db.execute(
        text("""
            INSERT INTO known_networks (user_id, network) VALUES (:user_id, :network)
            ON CONFLICT (user_id, network) DO UPDATE SET last_success_at = now()
        """),
        {"user_id": user_id, "network": network},
    )


async def is_known(db: AsyncConnection, username: str, network: str) -> bool:
    """Whether the account of a name was signed in to from a network lately."""
    found = await db.execute(
        text(f"""
            SELECT 1 FROM usernames n JOIN known_networks k ON k.user_id = n.user_id
            WHERE n.username_key = {NAME_KEY} AND k.network = :network
              AND k.last_success_at > now() - CAST(:memory AS interval)
        """),  # noqa: S608 - a constant
        {"username": username, "network": network, "memory": MEMORY},
    )
    return found.one_or_none() is not None


async def forget(db: AsyncConnection, owners: Sequence[UUID]) -> None:
    """Deletes those of the users' networks that are known no longer."""
    await db.execute(
        text("""
            DELETE FROM known_networks WHERE user_id = ANY(:owners)
            AND last_success_at <= now() - CAST(:memory AS interval)
        """),
        {"owners": list(owners), "memory": MEMORY},
    )
