"""What a second worker brings, the database's and the client's CPU taken into account.

Two workers, PostgreSQL and the load want a core each. Where there are fewer, the throughput of two
says little; what each request costs still does: if it costs as much with two workers, two cores
serve twice as many. (There the workers share their cores with PostgreSQL and the load, and each
other's caches.)
"""

import statistics
from dataclasses import dataclass

import compare
import machine
import report
import rows
import serving
from compare import Cluster, Match
from figures import Round
from ground import connected, run
from lineup import chosen
from rows import Rows

ROUNDS, SECONDS = 5, 3
SESSIONS = 100_000
EACH = 32  # connections to each worker
NEEDED = 4  # cores
TARGET = 1.8


@dataclass(frozen=True)
class Trial:
    """So many workers: the median of their throughput, CPU and the connections they had."""

    requests_per_second: float
    server_cpu_us: float
    connections: int


async def trial(url: str, of: Rows, secret: str, cluster: Cluster, workers: int) -> Trial:
    """Some rounds of as many workers."""
    contender = chosen("ours")[0]
    found = compare.environment(contender, url, secret) | {"WORKERS": str(workers)}
    enough = len(machine.ALL) >= NEEDED
    to = machine.ALL[:workers] if enough else machine.ALL
    rounds: list[Round] = []
    with serving.running(contender, contender.install("ours"), found, to) as server:
        match = Match(server, of)
        for number in range(ROUNDS + 1):
            done = await compare.one_round(
                match, cluster, "viewer", SECONDS, connections=EACH * workers
            )
            rounds += [done] if number else []
        async with connected(url) as db:
            held = await db.fetchval(
                "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
            )
    return Trial(
        statistics.median(done.requests_per_second for done in rounds),
        statistics.median(done.server_cpu_us for done in rounds),
        held,
    )


async def bench(url: str) -> None:
    """Measures, prints, and writes it down."""
    secret = compare.new_secret()
    of = await rows.ours(url, secret, SESSIONS)
    cluster, _ = await compare.cluster_of(url)
    one, two = [await trial(url, of, secret, cluster, workers) for workers in (1, 2)]
    by_throughput = two.requests_per_second / one.requests_per_second
    by_cpu = 2 * one.server_cpu_us / two.server_cpu_us
    enough = len(machine.ALL) >= NEEDED
    for name, seen in (("one worker", one), ("two workers", two)):
        print(
            f"{name}: {seen.requests_per_second:,.0f} requests/s, {seen.server_cpu_us:.0f} µs of"
            f" the server's CPU each, {seen.connections} connections to the database"
        )
    print(f"two by one: {by_throughput:.2f} in throughput, {by_cpu:.2f} by CPU each")
    if not enough:
        print(f"{len(machine.ALL)} cores are too few for throughput to tell: {NEEDED} are needed")
    found = {
        "cores_enough": enough,
        "by_throughput": by_throughput,
        "by_cpu": by_cpu,
        "target": TARGET,
        "met": by_throughput >= TARGET if enough else None,
        "connections_of_one": one.connections,
        "connections_of_two": two.connections,
    }
    report.add("scaling", found)


if __name__ == "__main__":
    run(bench)
