"""The machine: its cores and who runs on which, what processes have used, what it is."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1_000_000


def cores() -> list[int]:
    """The cores that we may use; one where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


ALL = cores()
SERVER = ALL[:1]  # the contender has it for itself
OTHERS = ALL[1:] or ALL  # PostgreSQL and the load


@contextmanager
def pinned(to: list[int]) -> Iterator[None]:
    """What is started in the block stays on these cores, where the system can do that."""
    pin(0, to)
    try:
        yield
    finally:
        pin(0, ALL)


def pin(pid: int, to: list[int]) -> None:
    """Puts a process on these cores; not a reason to fail."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(pid, to)


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on; none of a process that is gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def is_called(pid: int, name: str) -> bool:
    """Whether a process runs a program of that name."""
    with suppress(OSError):
        return (PROC / str(pid) / "comm").read_text().strip() == name
    return False


def parent(pid: int) -> int:
    """A process's parent; 0 when it is gone."""
    fields = stat(pid)
    return int(fields[1]) if fields else 0


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir() if PROC.exists() else ():
        if entry.name.isdigit():
            children.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu(root: int) -> float:
    """Seconds of CPU that a process and its descendants have used, those that ended too."""
    return sum(used(pid) for pid in tree(root))


def used(pid: int) -> float:
    """Seconds of CPU of a process and of its children that have ended.

    /proc/<pid>/stat counts hundredths of a second. Of a process with one thread, as PostgreSQL's
    are, schedstat knows the nanoseconds.
    """
    fields = stat(pid)
    if not fields:
        return 0
    user, system, *childrens = map(int, fields[11:15])
    own = (user + system) / TICKS
    if fields[17] == "1":
        with suppress(OSError, IndexError, ValueError):
            own = int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9
    return own + sum(childrens) / TICKS


def busy() -> float:
    """Seconds of CPU that all cores together have worked; 0 where the system does not tell."""
    with suppress(OSError):
        _, *ticks = (PROC / "stat").read_text().splitlines()[0].split()
        user, nice, system, _idle, _waiting, *interrupts = map(int, ticks[:8])
        return (user + nice + system + sum(interrupts)) / TICKS
    return 0


def resident(root: int) -> float:
    """Megabytes that a process and its descendants have in memory."""
    return sum(int(fields[21]) for pid in tree(root) if (fields := stat(pid))) * PAGE / MEGABYTE


def describe(**more: str | float) -> dict[str, str | float]:
    """What a reader must know of the machine to read its figures."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(ALL),
        "cpu": processor(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * PAGE / 1e9),
        "kernel": platform.release(),
        "python": python(),
        **more,
    }


def python() -> str:
    """The interpreter's version, and whether it is the distribution's: how one is built is 10 %."""
    whose = " of the distribution" if sys.base_prefix == "/usr" else ""
    return f"{platform.python_version()}{whose}"


def processor() -> str:
    """The processor's name."""
    with suppress(OSError):
        for line in (PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or sys.platform
