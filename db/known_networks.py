"""Statements about the networks from which somebody has signed in to an account."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.users import NAME_KEY

MEMORY = timedelta(days=90)


async def remember(db: AsyncConnection, user_id: UUID, network: str) -> None:
    """Notes that a sign-in to the account has just succeeded from a network."""
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
