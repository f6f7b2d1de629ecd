"""Whether the time of an answer tells an unknown user, a wrong password and a disabled user apart.

Interleaved tries, one at a time, without throttling; medians, quartiles, and for each pair the
probability that one is slower than the other (0.5: nobody can tell).
"""

import random
import statistics
import time

from ground import connected, run
from pydantic import SecretStr

from app import make_services
from auth import credentials
from auth.passwords import HASHER
from settings import Settings

TRIES = 400  # of each kind
SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"  # noqa: S105 - signs nothing that lives
KINDS = ("unknown", "wrong", "disabled")


async def bench(url: str) -> None:
    """Measures and prints."""
    services = make_services(
        Settings(DATABASE_URL=SecretStr(url), JWT_SECRET=SecretStr(SECRET), GUEST_RATE_LIMIT=0)
    )
    async with connected(url) as db:
        for name, disabled in (("wrong", None), ("disabled", "now()")):
            await db.execute(
                f"""WITH u AS (
                        INSERT INTO users (id, username, is_guest, password_hash, disabled_at)
                        VALUES (gen_random_uuid(), '{name}', false, $1, {disabled or "NULL"})
                        RETURNING id)
                    INSERT INTO usernames SELECT '{name}', id FROM u""",
                HASHER.hash("seven odd otters juggle"),
            )
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind in random.sample(KINDS * TRIES, TRIES * len(KINDS)):
        began = time.perf_counter()
        await credentials.password(
            services.database, services.passwords, kind, "four quiet herons argue"
        )
        took[kind].append((time.perf_counter() - began) * 1000)
    for kind, values in took.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{kind:<12} median {median:6.2f} ms   quartiles {low:6.2f} to {high:6.2f}")
    for one, other in (("unknown", "wrong"), ("disabled", "wrong")):
        slower = sum(a > b for a in took[one] for b in took[other]) / TRIES**2
        print(f"{one} slower than {other}: {slower:.3f}")
    services.passwords.close()
    await services.database.close()


if __name__ == "__main__":
    run(bench)
