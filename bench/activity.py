"""What it costs to write down that sessions were used, and whom it keeps waiting.

Flushes of 1,000 sessions out of 100,000: by one worker, by two with half of them in common, and the
same while others end sessions of the same 1,000, one after the other.
"""

import asyncio
import random
import time
from typing import Any

from ground import connected, fill, run, show

from db.activity import Activity, Use
from db.engine import Database
from db.sessions import Key

SESSIONS = 100_000
TOUCHED = 1_000
ROUNDS = 15
END = """UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'SIGNED_OUT'
         WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL"""
UNDO = "UPDATE user_sessions SET revoked_at = NULL, revoked_reason = NULL WHERE revoked_at < now()"


async def flush(database: Database, keys: list[Key]) -> float:
    """Milliseconds to write down a use of each of these sessions."""
    activity = Activity()
    for key in keys:
        activity.note(key, Use(time.time(), "198.51.100.8"))
    began = time.perf_counter()
    left = await activity.flush(database)
    while left:
        left = await activity.flush(database)
    return (time.perf_counter() - began) * 1000


async def end(db: Any, keys: list[Key], until: "asyncio.Event") -> list[float]:
    """Milliseconds that each ending took, one after the other, until told to stop."""
    took = []
    for key in keys:
        if until.is_set():
            break
        began = time.perf_counter()
        await db.execute(END, *key)
        took.append((time.perf_counter() - began) * 1000)
    return took


async def bench(url: str) -> None:
    """Measures and prints."""
    await fill(url, SESSIONS)
    one, two = (Database(url, timeout=60, pool_size=1) for _ in range(2))
    figures: dict[str, list[float]] = {}

    def note(title: str, *values: float) -> None:
        figures.setdefault(title, []).extend(values)

    async with connected(url) as db, connected(url) as ender:
        keys = [Key(*row) for row in await db.fetch("SELECT user_id, id FROM user_sessions")]
        for _ in range(ROUNDS):
            chosen = random.sample(keys, TOUCHED + TOUCHED // 2)
            mine, theirs = chosen[:TOUCHED], chosen[TOUCHED // 2 :]
            note("flush, one worker", await flush(one, mine))
            note(
                "flush, two workers, half in common",
                *await asyncio.gather(flush(one, mine), flush(two, theirs)),
            )
            alone = await end(ender, random.sample(keys, 100), asyncio.Event())
            note("an ending, nobody flushing", *alone)
            stop = asyncio.Event()
            ending = asyncio.create_task(end(ender, random.sample(chosen, len(chosen)), stop))
            beside = await asyncio.gather(flush(one, mine), flush(two, theirs))
            stop.set()
            note("flush, two workers, sessions being ended beside", *beside)
            note("an ending, two workers flushing", *(await ending))
            await db.execute(UNDO)
        deadlocks = await db.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    for title, values in figures.items():
        show(f"{title}, {TOUCHED} sessions" if title.startswith("flush") else title, values, "ms")
    print(f"deadlocks: {deadlocks}")
    await one.close()
    await two.close()


if __name__ == "__main__":
    run(bench)
