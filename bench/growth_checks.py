"""What a check and a list cost among few sessions and among very many: a part of growth.py.

Our server under load, on a small database and on a large one beside it, in turns; the same numbers
of callers (hot sets) on both. And the door's own statement, as PostgreSQL was sent it, explained
with the buffers that it touches.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import compare as bench
import report
import rows
import serving
from compare import Cluster, Match
from figures import Figure, Round
from ground import beside, connected
from lineup import chosen
from progress import Progress
from rows import OurRows

from auth import keys
from db import migrations

SMALL = 10_000  # sessions
HOT = (100, 1000)  # callers, drawn from all: of more, the processor's caches hold less
ROUNDS, SECONDS = 5, 2
SAME = 1.2  # of the smallest hot set, at most: a check among many by one among few, in all
BUFFERS = 10  # of a check, at most
Fill = Callable[[str, int], Awaitable[None]]

# What the door sends is found by what it reads, and its parameters by what they stand beside.
DOORS = """SELECT query FROM pg_stat_activity
           WHERE datname = current_database() AND query ~ 'user_sessions s\\s+JOIN users u'
           ORDER BY query_start DESC LIMIT 1"""
USER = re.compile(r"s\.user_id = (?:ANY\()?\$(\d+)")
SESSION = re.compile(r"s\.id = (?:ANY\()?\$(\d+)")


@dataclass(frozen=True)
class Side:
    """One of the two databases, our server on it."""

    rows: OurRows
    match: Match

    def called_by(self, callers: int) -> Match:
        """The same with so many callers."""
        return replace(self.match, rows=replace(self.rows, readers=self.rows.readers[:callers]))


async def compare(url: str, many: int, fill: Fill) -> None:
    """Measures, prints and writes down; the large database is filled already."""
    secret = bench.new_secret()
    cluster, _ = await bench.cluster_of(url)
    async with AsyncExitStack() as stack:
        small = await stack.enter_async_context(beside(url, "small"))
        await asyncio.to_thread(migrations.upgrade, small)
        await fill(small, SMALL)
        sides = {
            number: await enter(stack, where, secret)
            for number, where in ((SMALL, small), (many, url))
        }
        seen = await play(sides, cluster)
        for side in sides.values():  # so that the statement is each connection's last one
            await bench.one_round(side.match, cluster, "viewer", SECONDS)
        buffers = {number: await touched(side) for number, side in sides.items()}
    tell(seen, buffers, many)


async def enter(stack: AsyncExitStack, url: str, secret: str) -> Side:
    """Our server on a database, and who calls."""
    contender = chosen("ours")[0]
    of = await rows.callers_of(url, keys.ring(secret))
    found = bench.environment(contender, url, secret)
    program = contender.install(contender.name)
    server = stack.enter_context(serving.running(contender, program, found))
    return Side(of, Match(server, of))


Seen = dict[tuple[str, int, int], Figure]  # by operation, callers and sessions


async def play(sides: dict[int, Side], cluster: Cluster) -> Seen:
    """Figures of checks by each hot set, and of lists by the largest."""
    what = [*(("viewer", callers) for callers in HOT), ("list", HOT[-1])]
    seen: dict[tuple[str, int, int], list[Round]] = {}
    with Progress((ROUNDS + 1) * len(what) * len(sides)) as progress:
        for turn in range(ROUNDS + 1):  # the first warms up
            for operation, callers in what:
                for number, side in sides.items():
                    progress.step(f"{operation} among {number:,}")
                    match = side.called_by(callers)
                    done = await bench.one_round(match, cluster, operation, SECONDS)
                    if turn:
                        seen.setdefault((operation, callers, number), []).append(done)
    return {which: Figure.of(rounds) for which, rounds in seen.items()}


async def touched(side: Side) -> int | None:
    """The buffers that the door's statement touches for one session; None where it is not found."""
    caller = secrets.choice(side.rows.readers)
    async with connected(side.rows.url) as db:
        query = await db.fetchval(DOORS)
        user, session = (pattern.search(query or "") for pattern in (USER, SESSION))
        if not user or not session:
            return None
        ids = {int(user[1]): UUID(caller.user_id), int(session[1]): UUID(caller.session_id)}
        statement = await db.prepare(query)
        values = [
            value_for(parameter.name, ids.get(place))
            for place, parameter in enumerate(statement.get_parameters(), 1)
        ]
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"
        await db.fetchval(explain, *values)  # fills the caches
        plan = json.loads(await db.fetchval(explain, *values))[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def value_for(kind: str, found: UUID | None) -> Any:
    """A value for a parameter of a type: an id, or several, or a duration."""
    if found is None:
        return timedelta(seconds=1) if kind == "interval" else None
    return [found] if kind.endswith("[]") else found


def cpu(figure: Figure) -> float:
    """All µs of a request: the server's and the database's."""
    return figure.server_cpu_us + figure.database_cpu_us


def tell(seen: Seen, buffers: dict[int, int | None], many: int) -> None:
    """Prints and writes down what was seen."""
    for (operation, callers, number), each in seen.items():
        for whose, used in (("server", each.server_cpu_us), ("database", each.database_cpu_us)):
            title = f"{operation}, {callers:,} callers, {number:,} sessions, the {whose}'s CPU"
            print(f"{title:<62} {used:9.1f} µs")
    for number, blocks in buffers.items():
        print(f"{f'a check among {number:,} sessions touches':<62} {blocks or '?':>9} buffers")
    checks = {callers: grown(seen, "viewer", callers, many) for callers in HOT}
    largest = buffers[many]
    report.add(
        "growth",
        {
            "sessions": [SMALL, many],
            "check": checks,
            "list": {HOT[-1]: grown(seen, "list", HOT[-1], many)},
            "check_buffers": [buffers[SMALL], largest],
            "target": SAME,
            "met": checks[HOT[0]]["ratio"] <= SAME and largest is not None and largest <= BUFFERS,
        },
    )


def grown(seen: Seen, operation: str, callers: int, many: int) -> dict[str, Any]:
    """CPU among few and among many: each process's, and what all of it has become."""
    few_and_many = [seen[operation, callers, number] for number in (SMALL, many)]
    database = [each.database_cpu_us for each in few_and_many]
    costs = [cpu(each) for each in few_and_many]
    return {
        "server_cpu_us": [each.server_cpu_us for each in few_and_many],
        "database_cpu_us": database,
        "database_ratio": database[1] / database[0],
        "ratio": costs[1] / costs[0],
    }
