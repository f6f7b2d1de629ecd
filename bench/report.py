"""What a comparison is written down as: a table for people, results.json, and the README's part."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dialects import OPERATIONS
from figures import TARGETS, Figure, Figures, Target

DIGITS = 3


@dataclass
class Results:
    """All that was seen."""

    machine: dict[str, Any]
    contenders: Figures
    skipped: dict[str, str]
    rounds: int
    seconds: float
    sessions: int

    def as_json(self) -> dict[str, Any]:
        """The members of results.json."""
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "sessions": self.sessions,
            "contenders": {
                name: {operation: rounded(asdict(figure)) for operation, figure in of.items()}
                for name, of in self.contenders.items()
            },
            "targets": list(judged(self.contenders)),
            "skipped": self.skipped,
        }


def rounded(value: dict[str, Any]) -> dict[str, Any]:
    """Figures with as many digits as mean something."""
    return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in value.items()}


def judged(figures: Figures) -> Iterator[dict[str, Any]]:
    """What issue 9 asks, what was seen, and whether that is met."""
    for target in TARGETS:
        ratio = target.seen(figures)
        yield {
            **asdict(target),
            "seen": None if ratio is None else round(ratio, DIGITS),
            "met": None if ratio is None else target.is_met(ratio),
        }


def show(results: Results) -> None:
    """Prints the tables."""
    for operation in OPERATIONS:
        print("\n".join(table(results.contenders, operation)), end="\n\n")
    for target in TARGETS:
        print(sentence(target, results.contenders))


HEAD = (
    "| {} | req/s | of ours | p50 ms | p99 ms | server CPU s/1,000 | database CPU s/1,000"
    " | memory MB | errors |"
)


def table(figures: Figures, operation: str) -> Iterator[str]:
    """The lines of one operation's table, in Markdown; the fastest first."""
    yield HEAD.format(operation)
    yield "|---" + "|---:" * 8 + "|"
    found = [(of[operation], name) for name, of in figures.items() if operation in of]
    ours = figures.get("ours", {}).get(operation)
    for figure, name in sorted(found, key=lambda pair: -pair[0].requests_per_second):
        yield row(name, figure, ours)


def row(name: str, figure: Figure, ours: Figure | None) -> str:
    """A contender's line."""
    ratio = figure.requests_per_second / ours.requests_per_second if ours else 0
    cells = [
        f"**{name}**" if name == "ours" else name,
        f"{figure.requests_per_second:,.0f}{'' if figure.core_full else ' °'}",
        f"{ratio:.2f}" if ratio else "-",
        f"{figure.p50_ms:.1f}",
        f"{figure.p99_ms:.1f}",
        f"{figure.server_cpu_us / 1000:.3f}",
        f"{figure.database_cpu_us / 1000:.3f}",
        f"{figure.memory_mb:.0f}",
        str(figure.errors),
    ]
    return f"| {' | '.join(cells)} |"


def sentence(target: Target, figures: Figures) -> str:
    """What a target asks and what was seen."""
    ratio = target.seen(figures)
    what = f"{target.operation}: {target.figure} ours / {target.other}"
    bound = f"{'>=' if target.at_least else '<='} {target.bound:.2f}"
    if ratio is None:
        return f"{what:<55} {bound:>8}   not measured"
    return f"{what:<55} {bound:>8}   {ratio:6.2f}   {'met' if target.is_met(ratio) else 'MISSED'}"


def write(results: Results, folder: Path) -> None:
    """Writes results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    file.write_text(f"{json.dumps(results.as_json(), indent=2, ensure_ascii=False)}\n")
    print(f"written: {file}", file=sys.stderr)
