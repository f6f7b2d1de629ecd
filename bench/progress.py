"""A bar on stderr while something takes minutes; plain lines where nobody watches a terminal."""

import sys
import time
from types import TracebackType
from typing import Self

WIDTH = 30
LINES_EVERY = 15  # seconds between plain lines


class Progress:
    """How many of so many steps are done, and how long the others will take."""

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.done = 0
        self.began = self.told = time.monotonic()
        self.live = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the line to others."""
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def step(self, what: str) -> None:
        """The next step begins."""
        line = f"[{self.bar()}] {self.done}/{self.total}  {self.left()}  {what}"
        self.done += 1
        if self.live:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.told >= LINES_EVERY:
            self.told = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def bar(self) -> str:
        """What is done, of a width."""
        full = WIDTH * self.done // self.total
        return "#" * full + "." * (WIDTH - full)

    def left(self) -> str:
        """The seconds that the other steps will take if they take as long."""
        if not self.done:
            return "…"
        took = time.monotonic() - self.began
        return f"{took / self.done * (self.total - self.done):.0f} s left"
