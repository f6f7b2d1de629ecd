"""What a comparison is written down as: tables, results.json, a chart, and the README's part."""

import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import chart
from dialects import OPERATIONS
from figures import TARGETS, Figure, Figures

BENCH = Path(__file__).resolve().parent
README = BENCH.parent / "README.md"
BEGIN, END = "<!-- bench: written by make bench -->", "<!-- /bench -->"
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
    coalescing: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The members of results.json."""
        return {
            **asdict(replace(self, contenders={})),
            "coalescing": rounded(self.coalescing),
            "contenders": {
                name: {operation: rounded(asdict(figure)) for operation, figure in of.items()}
                for name, of in self.contenders.items()
            },
            "targets": list(judged(self.contenders)),
        }


def rounded(value: Any) -> Any:
    """Figures with as many digits as mean something."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def judged(figures: Figures) -> Iterator[dict[str, Any]]:
    """What is asked of us, what was seen, and whether that is met."""
    for target in TARGETS:
        ratio = target.seen(figures)
        yield {
            **rounded(asdict(target)),
            "seen": None if ratio is None else round(ratio, DIGITS),
            "met": None if ratio is None else target.is_met(ratio),
        }


# The tables

HEAD = (
    "| {} | req/s | of ours | p50 ms | p99 ms | server CPU s/1,000 | database CPU s/1,000"
    " | memory MB | errors |"
)


def tables(figures: Figures) -> str:
    """A table for each operation, in Markdown."""
    return "\n\n".join("\n".join(table(figures, operation)) for operation in OPERATIONS)


def table(figures: Figures, operation: str) -> Iterator[str]:
    """The lines of one operation's table; the fastest first."""
    yield HEAD.format(operation)
    yield "|---" + "|---:" * 8 + "|"
    ours = figures.get("ours", {}).get(operation)
    for name, figure in chart.bars(figures, operation):
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


def asked(figures: Figures) -> Iterator[str]:
    """The lines of the table of what is asked of us."""
    yield "| ours divided by | | asked | seen |"
    yield "|---|---|---:|---:|"
    for target in TARGETS:
        ratio = target.seen(figures)
        what = f"{target.operation}, {target.figure.replace('_', ' ')}"
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:.2f}"
        seen = "not measured" if ratio is None else f"{ratio:.2f}"
        missed = "" if ratio is None or target.is_met(ratio) else " (missed)"
        yield f"| {target.other} | {what} | {bound} | {seen}{missed} |"


def notes(results: Results) -> Iterator[str]:
    """What a reader must know beside the tables."""
    about = results.machine
    yield (
        f"{about['date']}: {about['cores']} cores ({about['cpu']}), {about['memory_gb']} GB, Linux"
        f" {about['kernel']}, Python {about['python']}, PostgreSQL {about['postgresql']}, Node"
        f" {about['node'] or '-'}. {results.rounds} interleaved rounds of {results.seconds:g} s,"
        f" medians; {results.sessions:,} sessions, 32 connections, one process and one core each."
        f" Others kept {about.get('others_cores', 0):.1f} cores busy meanwhile."
        " °: the server's core was not full, something else set the pace."
    )
    loads = [f.client_cpu_us for of in results.contenders.values() for f in of.values()]
    yield f"The load took {statistics.median(loads):.0f} µs of CPU a request (median), elsewhere."
    for name, why in results.skipped.items():
        yield f"Left out: {name} ({why})."


def show(results: Results) -> None:
    """Prints it."""
    print(tables(results.contenders), "\n".join(asked(results.contenders)), sep="\n\n", end="\n\n")
    print("\n".join(notes(results)))


# The files


def write(results: Results, folder: Path = BENCH) -> None:
    """Writes results.json; what other benches added to it stays."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "results.json", results.as_json())


def add(section: str, found: dict[str, Any], folder: Path = BENCH) -> None:
    """Writes a section of results.json, the others stay."""
    save(folder / "results.json", {section: rounded(found)})


def save(file: Path, members: dict[str, Any]) -> None:
    """Puts members into a JSON file."""
    before = json.loads(file.read_text()) if file.exists() else {}
    text = json.dumps(before | members, indent=2, ensure_ascii=False)
    file.write_text(f"{text}\n")
    print(f"Written: {file.name}", file=sys.stderr)


def publish(results: Results, folder: Path = BENCH, readme: Path = README) -> None:
    """Writes the chart, all tables, and the part between the marks of the README."""
    (folder / "chart.svg").write_text(chart.draw(results.contenders))
    (folder / "RESULTS.md").write_text("\n\n".join(full(results)) + "\n")
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    part = "\n\n".join([BEGIN, *short(results), END])
    readme.write_text(f"{before}{part}{after}")


def full(results: Results) -> Iterator[str]:
    """The paragraphs of RESULTS.md."""
    yield "# What was measured last"
    yield "Written by `make bench`; [results.json](results.json) has more."
    yield "\n\n".join(notes(results))
    yield tables(results.contenders)
    yield "\n".join(asked(results.contenders))


def short(results: Results) -> Iterator[str]:
    """The paragraphs of the README's part."""
    yield "![Requests a second of each contender](bench/chart.svg)"
    yield "\n".join(summary(results.contenders))
    yield next(notes(results))


def summary(figures: Figures) -> Iterator[str]:
    """The lines of one table of all operations: requests a second, and µs of the server's CPU."""
    yield f"| | {' | '.join(f'{operation}/s | CPU µs' for operation in OPERATIONS)} | MB |"
    yield "|---" + "|---:" * (2 * len(OPERATIONS) + 1) + "|"
    for name, _ in chart.bars(figures, OPERATIONS[0]):
        cells = [f"**{name}**" if name == "ours" else name]
        for operation in OPERATIONS:
            cells += cell(figures[name].get(operation))
        cells.append(f"{max(figure.memory_mb for figure in figures[name].values()):.0f}")
        yield f"| {' | '.join(cells)} |"


def cell(figure: Figure | None) -> list[str]:
    """Requests a second and CPU of one operation."""
    if figure is None:
        return ["", ""]
    rate = f"{figure.requests_per_second:,.0f}{'' if figure.core_full else ' °'}"
    return [rate, f"{figure.server_cpu_us:,.0f}"]
