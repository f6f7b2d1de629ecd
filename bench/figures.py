"""What rounds come to: medians, ratios, and whether a throughput says anything of the server."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from load import Tally

FULL = 0.85  # of the server's core: below it, somebody else set the pace


@dataclass(frozen=True)
class Round:
    """One contender in one operation for some seconds."""

    requests_per_second: float
    server_cpu_us: float
    database_cpu_us: float
    client_cpu_us: float
    p50_ms: float
    p99_ms: float
    errors: int
    core: float  # how much of it the server used
    memory_mb: float

    @classmethod
    def of(cls, tally: Tally, *, server_cpu: float, database_cpu: float, memory: float) -> "Round":
        """What a load and the processes' times come to; times in seconds, memory in MB."""
        each = 1e6 / max(tally.answered, 1)
        return cls(
            requests_per_second=tally.answered / tally.seconds if tally.seconds else 0,
            server_cpu_us=server_cpu * each,
            database_cpu_us=database_cpu * each,
            client_cpu_us=tally.cpu * each,
            p50_ms=percentile(tally.latencies, 50),
            p99_ms=percentile(tally.latencies, 99),
            errors=tally.errors,
            core=server_cpu / tally.seconds if tally.seconds else 0,
            memory_mb=memory,
        )


@dataclass(frozen=True)
class Figure:
    """The medians of rounds; errors are all of them."""

    requests_per_second: float
    server_cpu_us: float
    database_cpu_us: float
    client_cpu_us: float
    p50_ms: float
    p99_ms: float
    errors: int
    core: float
    memory_mb: float
    core_full: bool

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> "Figure":
        """The figure of some rounds."""
        columns = {name: [asdict(done)[name] for done in rounds] for name in asdict(rounds[0])}
        middle = {name: statistics.median(values) for name, values in columns.items()}
        middle["errors"] = sum(columns["errors"])
        return cls(**middle, core_full=middle["core"] >= FULL)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of the values do not pass; 0 of none."""
    if not values:
        return 0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


Figures = dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class Target:
    """What issue 9 asks of us: our figure divided by another's, and how it must be."""

    operation: str
    figure: str
    other: str
    bound: float
    at_least: bool

    def seen(self, figures: Figures) -> float | None:
        """The ratio; None where either was not measured."""
        try:
            ours = getattr(figures["ours"][self.operation], self.figure)
            other = getattr(figures[self.other][self.operation], self.figure)
        except KeyError:
            return None
        return ours / other if other else None

    def is_met(self, ratio: float) -> bool:
        """Whether the ratio is as it must be."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


def at_least(bound: float, operation: str, *others: str) -> list[Target]:
    """So many times their throughput."""
    return [
        Target(operation, "requests_per_second", other, bound, at_least=True) for other in others
    ]


def at_most(bound: float, figure: str, operation: str, *others: str) -> list[Target]:
    """So much of theirs."""
    return [Target(operation, figure, other, bound, at_least=False) for other in others]


TARGETS = [
    *at_most(0.5, "server_cpu_us", "viewer", "node-http"),
    *at_least(1.7, "viewer", "node-http"),
    *at_most(1 / 3, "server_cpu_us", "viewer", "starlette-rest"),
    *at_most(1, "server_cpu_us", "viewer", "go-rest"),
    *at_most(0.5, "database_cpu_us", "viewer", "node-http", "starlette-rest"),
    *at_most(0.55, "server_cpu_us", "list", "node-http", "mercurius"),
    *at_least(1.6, "list", "node-http", "mercurius"),
    *at_most(1.25, "server_cpu_us", "list", "go-rest"),
    *at_least(20, "list", "straightforward"),
    *at_least(10, "create", "straightforward"),
    *at_least(2, "create", "mercurius"),
    *at_least(10, "revoke", "straightforward"),
    *at_least(2, "revoke", "mercurius"),
    *at_most(0.7, "p99_ms", "viewer", "node-http", "mercurius"),
    *at_most(0.7, "p99_ms", "list", "node-http", "mercurius"),
]
