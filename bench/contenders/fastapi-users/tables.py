"""Makes the tables."""

import asyncio

from models import Base

from app import engine


async def main() -> None:
    """All of them."""
    async with engine.begin() as db:
        await db.run_sync(Base.metadata.create_all)


if __name__ == "__main__":
    asyncio.run(main())
