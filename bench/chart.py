"""The chart of a comparison: an SVG made by hand, to be read on light and on dark ground."""

from collections.abc import Iterator
from html import escape

from dialects import OPERATIONS
from figures import Figure, Figures

WIDTH, LABELS, BAR, GAP, TITLE = 430, 118, 14, 6, 34
TITLES = {
    "viewer": "check + viewer, requests a second",
    "list": "mySessions, requests a second",
    "create": "createSession, requests a second",
    "revoke": "revokeSession, requests a second",
}
# Greys and colours with contrast to white and to black; the query mends the text where it works.
STYLE = """
    text { font: 12px system-ui, sans-serif; fill: #57606a; }
    .title { font-weight: 600; font-size: 13px; }
    .us { font-weight: 600; fill: #1a7f37; }
    .bar { fill: #8c959f; } .ours { fill: #2da44e; }
    @media (prefers-color-scheme: dark) { text { fill: #adbac7; } .us { fill: #57ab5a; } }
"""


def draw(figures: Figures) -> str:
    """The SVG: a panel for each operation, the fastest on top."""
    lines = max((len(bars(figures, operation)) for operation in OPERATIONS), default=0)
    height = TITLE + lines * (BAR + GAP) + 16
    parts = []
    for number, operation in enumerate(OPERATIONS):
        x, y = number % 2 * (WIDTH + 20) + 10, number // 2 * height + 6
        parts.append(f'<g transform="translate({x} {y})">')
        parts += panel(TITLES[operation], bars(figures, operation))
        parts.append("</g>")
    size = f'width="{2 * WIDTH + 40}" height="{2 * height + 12}"'
    box = f'viewBox="0 0 {2 * WIDTH + 40} {2 * height + 12}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img">'
    label = "<title>Requests a second of each contender</title>"
    return "\n".join([head, label, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def bars(figures: Figures, operation: str) -> list[tuple[str, Figure]]:
    """Who was measured in an operation, the fastest first."""
    found = [(name, of[operation]) for name, of in figures.items() if operation in of]
    return sorted(found, key=lambda pair: -pair[1].requests_per_second)


def panel(title: str, rows: list[tuple[str, Figure]]) -> Iterator[str]:
    """The elements of a panel; a bar's length is its share of the longest."""
    yield f'<text class="title" x="0" y="16">{escape(title)}</text>'
    longest = max((figure.requests_per_second for _, figure in rows), default=0) or 1
    for number, (name, figure) in enumerate(rows):
        y = TITLE + number * (BAR + GAP)
        length = figure.requests_per_second / longest * (WIDTH - LABELS - 62)
        us, kind = (' class="us"', "bar ours") if name == "ours" else ("", "bar")
        mark = "" if figure.core_full else " °"
        yield f'<text{us} x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}"/>'
        value = f"{figure.requests_per_second:,.0f}{mark}"
        yield f'<text{us} x="{LABELS + length + 6:.1f}" y="{y + 11}">{value}</text>'
