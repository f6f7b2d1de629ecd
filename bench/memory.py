"""Whether a worker's memory stays flat: minutes of mixed load, its resident memory all along.

MINUTES sets how long (10). The load reads as two sets of callers, begins sessions, and sends
documents that nobody sent before, which must not pile up anywhere.
"""

import asyncio
import os
import statistics
import time

import compare
import machine
import report
import rows
import serving
from dialects import GRAPHQL, Caller, Request, bearer, http
from ground import run
from lineup import chosen
from progress import Progress
from rows import Rows

MINUTES = float(os.environ.get("MINUTES", "10"))
STRETCH = 10  # seconds of load between two looks
SESSIONS = 100_000
SHARE = 0.1  # of the looks: the second and the last are compared, the first fills what is kept
FLAT = 1.05  # the last by the first, at most


def unseen(caller: Caller, number: int) -> Request:
    """A document of its own, which asks for what everybody asks."""
    body = {"query": f"{{ a{number}: viewer {{ id username }} }}"}
    return Request(http("POST", "/graphql", body, **bearer(caller.credential)), caller.username)


def mixed(of: Rows, first: int) -> list[Request]:
    """A stretch's requests: most read, some begin sessions, some bring new documents."""
    everybody = [*of.readers, *of.writers]
    return [
        request
        for number, caller in enumerate(everybody, first)
        for request in (
            GRAPHQL.viewer(caller),
            GRAPHQL.list(caller),
            GRAPHQL.create() if number % 5 == 0 else unseen(caller, number),
        )
    ]


async def bench(url: str) -> None:
    """Measures, prints, and writes it down."""
    contender, secret = chosen("ours")[0], compare.new_secret()
    of = await rows.ours(url, secret, SESSIONS)
    program, found = contender.install("ours"), compare.environment(contender, url, secret)
    seen: list[float] = []
    end, errors, answered = time.monotonic() + MINUTES * 60, 0, 0
    with (
        serving.running(contender, program, found) as server,
        Progress(int(MINUTES * 60 / STRETCH)) as progress,
    ):
        while time.monotonic() < end:
            progress.step(f"{seen[-1]:.0f} MB" if seen else "begins")
            requests = mixed(of, answered)
            tally = await serving.put_under_load(server, requests, STRETCH)
            errors, answered = errors + tally.errors, answered + tally.answered
            seen.append(machine.resident(server.pid))
            await asyncio.sleep(0)
    tell(seen, answered, errors)


def tell(seen: list[float], answered: int, errors: int) -> None:
    """Prints and writes down what was seen: MB after each stretch."""
    part = max(1, round(len(seen) * SHARE))
    first, last = statistics.median(seen[part : 2 * part]), statistics.median(seen[-part:])
    print(f"{answered:,} requests in {MINUTES:g} minutes, {errors} errors")
    print(f"resident memory: {first:.1f} MB in the second tenth, {last:.1f} MB in the last")
    found = {
        "minutes": MINUTES,
        "requests": answered,
        "errors": errors,
        "first_mb": first,
        "last_mb": last,
        "largest_mb": max(seen),
        "met": last <= first * FLAT,
        "megabytes": [round(megabytes, 1) for megabytes in seen],
    }
    report.add("memory", found)


if __name__ == "__main__":
    run(bench)
