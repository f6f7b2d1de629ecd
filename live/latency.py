"""How long it took from the end of a session until its sockets were closed."""

from dataclasses import dataclass

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)  # seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """What a while was like: how many, and the seconds below which half and 99 % of them were."""

    count: int
    p50: float
    p99: float
    slowest: float


class Latency:
    """A histogram of seconds, since the process began and since somebody last took a look."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)  # of all, by bound; the last one: beyond
        self.total = 0.0
        self._recent: list[float] = []

    def note(self, seconds: float) -> None:
        """Counts one."""
        self.counts[sum(seconds > bound for bound in BOUNDS)] += 1
        self.total += seconds
        if len(self._recent) < 10_000:  # noqa: PLR2004 - enough for a percentile of a minute
            self._recent.append(seconds)

    def take(self) -> Figures | None:
        """The figures of those since the last look; None where there were none."""
        recent, self._recent = sorted(self._recent), []
        if not recent:
            return None

        def at(share: float) -> float:
            return round(recent[min(len(recent) - 1, int(share * len(recent)))], 4)

        return Figures(len(recent), at(0.5), at(0.99), round(recent[-1], 4))
