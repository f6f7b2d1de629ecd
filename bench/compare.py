"""Ours beside what users would pick instead: interleaved rounds on one machine, medians.

    python bench/compare.py            five rounds and more, for the README: see --help
    python bench/compare.py --quick    two minutes after the set-up

Each server has a core for itself; PostgreSQL and the load have the others. Before anything is timed
every contender's answers are looked at, and that a session which was ended is refused. The server's
CPU is that of its processes, the database's that of all of PostgreSQL's, both from /proc.
"""

import argparse
import os
import random
import secrets
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import checks
import environments
import machine
import own_rows
import report
import rows
import serving
from dialects import Request
from environments import Missing
from figures import Figure, Round
from ground import beside, connected, run
from lineup import Contender, chosen
from progress import Progress
from rows import Rows
from serving import Server

from auth import keys

ENDED_A_SECOND = 3000  # sessions made for each second of revoking: more than anybody ends


@dataclass(frozen=True)
class Effort:
    """How long everything takes."""

    rounds: int
    seconds: float  # of a round, per contender and operation
    warm_up: float  # seconds, before the first round
    sessions: int  # rows


FULL = Effort(rounds=5, seconds=3, warm_up=3, sessions=1_000_000)
QUICK = Effort(rounds=3, seconds=0.4, warm_up=0.4, sessions=100_000)


@dataclass(frozen=True)
class Match:
    """A contender that runs, on its rows."""

    server: Server
    rows: Rows

    @property
    def name(self) -> str:
        """The contender's."""
        return self.server.contender.name

    async def requests(self, operation: str, seconds: float) -> list[Request]:
        """What is sent for an operation; for an ending, each can be sent once."""
        speaks = self.server.contender.speaks
        if operation == "create":
            return [speaks.create()]
        if operation == "revoke":
            made = await self.rows.targets(int(ENDED_A_SECOND * seconds) or 1)
            return [speaks.revoke(caller, target) for caller, target in made]
        return [getattr(speaks, operation)(caller) for caller in self.rows.readers]


class Cluster:
    """The PostgreSQL that all contenders share, as /proc shows it."""

    def __init__(self, postmaster: int) -> None:
        self.postmaster = postmaster

    def cpu(self) -> float:
        """Seconds of CPU of all its processes, those that ended too; 0 where it is elsewhere."""
        return machine.cpu(self.postmaster) if self.postmaster else 0


class Others:
    """Whoever else works on this machine: what they use, the figures lack."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.began, self.used = time.monotonic(), self._used()

    def _used(self) -> float:
        return machine.busy() - machine.cpu(os.getpid()) - self.cluster.cpu()

    def cores(self) -> float:
        """How many cores they have kept busy since."""
        return round((self._used() - self.used) / (time.monotonic() - self.began), 2)


async def cluster_of(url: str) -> tuple[Cluster, str]:
    """The cluster behind a URL, put beside the server's core, and its version."""
    async with connected(url) as db:
        version = str(await db.fetchval("SHOW server_version"))
        postmaster = machine.parent(await db.fetchval("SELECT pg_backend_pid()"))
        if not machine.is_called(postmaster, "postgres"):  # it is on another machine
            postmaster = 0
        for pid in machine.tree(postmaster) if postmaster else ():
            machine.pin(pid, machine.OTHERS)
    return Cluster(postmaster), version


async def one_round(
    match: Match, cluster: Cluster, operation: str, seconds: float, *, connections: int = 32
) -> Round:
    """What one contender does in one operation for so long."""
    requests = await match.requests(operation, seconds)
    random.shuffle(requests)
    server, database = machine.cpu(match.server.pid), cluster.cpu()
    tally = await serving.put_under_load(
        match.server, requests, seconds, connections=connections, again=operation != "revoke"
    )
    return Round.of(
        tally,
        server_cpu=machine.cpu(match.server.pid) - server,
        database_cpu=cluster.cpu() - database,
        memory=machine.resident(match.server.pid),
    )


async def play(
    matches: list[Match], cluster: Cluster, effort: Effort, progress: Progress
) -> dict[str, dict[str, Figure]]:
    """All rounds, one contender after the other in each; the figures of each and operation."""
    seen: dict[tuple[str, str], list[Round]] = {}
    for number in range(effort.rounds + 1):  # the first warms up
        for operation, match in steps(matches):
            progress.step(f"round {number}/{effort.rounds}  {operation}  {match.name}")
            seconds = effort.seconds if number else effort.warm_up
            done = await one_round(match, cluster, operation, seconds)
            if number:
                seen.setdefault((match.name, operation), []).append(done)
    figures: dict[str, dict[str, Figure]] = {match.name: {} for match in matches}
    for (name, operation), rounds in seen.items():
        figures[name][operation] = Figure.of(rounds)
    return figures


async def coalescing(match: Match, cluster: Cluster, effort: Effort) -> dict[str, float]:
    """The database's CPU per check when 32 ask at once, and when one asks after the other."""
    seen: dict[int, list[float]] = {1: [], 32: []}
    seconds = max(effort.seconds, 1)  # one client alone asks little in less
    for _ in range(effort.rounds):
        for connections, found in seen.items():
            done = await one_round(match, cluster, "viewer", seconds, connections=connections)
            found.append(done.database_cpu_us)
    alone, at_once = statistics.median(seen[1]), statistics.median(seen[32])
    return {
        "database_cpu_us_at_1": alone,
        "database_cpu_us_at_32": at_once,
        "ratio": at_once / alone if alone else 0,
    }


def steps(matches: list[Match]) -> Iterator[tuple[str, Match]]:
    """What a round consists of."""
    for operation in checks.OPERATIONS:
        for match in matches:
            if operation in match.server.contender.operations:
                yield operation, match


def settings(url: str, secret: str) -> dict[str, str]:
    """The environment of every contender: where the database is, how tokens are signed."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    database = {
        "PGHOST": query.get("host") or parts.hostname or "",
        "PGPORT": query.get("port") or str(parts.port or 5432),
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
    }
    profile = rows.PROFILE
    return {name: value for name, value in database.items() if value} | {
        "NODE_ENV": "production",
        "JWT_SECRET": secret,
        "JWT_KID": keys.name(secret.encode()),
        "JWT_ISSUER": profile.issuer,
        "JWT_AUDIENCE": profile.audience,
        "JWT_CLIENT_ID": profile.client_id,
    }


OURS = {
    "LOGIN_RATE_LIMIT": "0",
    "GUEST_RATE_LIMIT": "0",
    "SESSION_CLEANUP_INTERVAL": "0",
    "GRAPHIQL": "0",
    "WORKERS": "1",
}


def environment(contender: Contender, url: str, secret: str) -> dict[str, str]:
    """What a contender's server finds in its environment; ours refuses names it does not know."""
    if contender.name == "ours":
        return plain() | OURS | {"DATABASE_URL": url, "JWT_SECRET": secret}
    return plain() | settings(url, secret)


def new_secret() -> str:
    """What signs this run's tokens."""
    return secrets.token_urlsafe(36)


def plain() -> dict[str, str]:
    """What programs need of our own environment; none of a developer's settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def installed(contenders: list[Contender], skipped: dict[str, str]) -> dict[str, Path]:
    """The programs of those that can be had."""
    programs = {}
    for contender in contenders:
        try:
            programs[contender.name] = contender.install(contender.name)
        except Missing as missing:
            skip(skipped, contender.name, missing)
    return programs


def skip(skipped: dict[str, str], name: str, why: Exception) -> None:
    """Leaves a contender out, aloud; never ourselves."""
    if name == "ours":
        raise why
    skipped[name] = str(why)
    print(f"{name} is left out: {why}", file=sys.stderr)


@dataclass(frozen=True)
class Arena:
    """What the contenders have in common."""

    url: str
    secret: str
    programs: dict[str, Path]
    ours: Rows
    users: int
    stack: AsyncExitStack  # ends the servers and their databases

    async def enter(self, contender: Contender) -> Match:
        """The contender, running, its answers looked at. Raises Missing and Wrong."""
        url, rows_of = self.url, self.ours
        program = self.programs[contender.name]
        if contender.rows == "own":
            url = await self.stack.enter_async_context(beside(url, contender.name))
            found = environment(contender, url, self.secret)
            rows_of = await own_rows.make(url, contender, program, found, self.users)
        server = self.stack.enter_context(
            serving.running(contender, program, environment(contender, url, self.secret))
        )
        await checks.check(server, rows_of)
        return Match(server, rows_of)


async def compare(
    url: str, contenders: list[Contender], programs: dict[str, Path], effort: Effort
) -> report.Results:
    """Starts, checks and times them."""
    secret = new_secret()
    skipped: dict[str, str] = {}
    cluster, version = await cluster_of(url)
    print(f"Making {effort.sessions:,} sessions …", file=sys.stderr)
    ours = await rows.ours(url, secret, effort.sessions)
    async with AsyncExitStack() as stack:
        arena = Arena(url, secret, programs, ours, effort.sessions // rows.PER_USER, stack)
        matches = []
        for contender in contenders:
            print(f"Starting {contender.name} …", file=sys.stderr)
            try:
                matches.append(await arena.enter(contender))
            except (Missing, checks.Wrong) as error:
                skip(skipped, contender.name, error)
        total = (effort.rounds + 1) * len(list(steps(matches)))
        others = Others(cluster)
        with Progress(total) as progress:
            figures = await play(matches, cluster, effort, progress)
        meanwhile = others.cores()
        shared = [await coalescing(m, cluster, effort) for m in matches if m.name == "ours"]
    about = machine.describe(
        postgresql=version, node=environments.node_version(), others_cores=meanwhile
    )
    return report.Results(
        about,
        figures,
        skipped,
        effort.rounds,
        effort.seconds,
        effort.sessions,
        coalescing=shared[0] if shared else {},
    )


def main() -> None:
    """From the command line to the files."""
    asked = arguments()
    effort = QUICK if asked.quick else FULL
    effort = Effort(
        asked.rounds or effort.rounds,
        asked.seconds or effort.seconds,
        effort.warm_up,
        asked.sessions or effort.sessions,
    )
    skipped: dict[str, str] = {}
    contenders = chosen(asked.only)
    programs = installed(contenders, skipped)
    contenders = [contender for contender in contenders if contender.name in programs]

    async def bench(url: str) -> None:
        results = await compare(url, contenders, programs, effort)
        results.skipped.update(skipped)
        report.show(results)
        report.write(results, asked.out)
        if asked.readme:
            report.publish(results)

    run(bench)


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two minutes after the set-up")
    parser.add_argument("--only", default="", help="contenders, by name, with commas")
    parser.add_argument("--rounds", type=int, help="how many")
    parser.add_argument("--seconds", type=float, help="of a round of one contender and operation")
    parser.add_argument("--sessions", type=int, help="rows in user_sessions")
    parser.add_argument("--out", type=Path, default=report.BENCH, help="folder for results.json")
    parser.add_argument("--readme", action="store_true", help="write the README's part too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
