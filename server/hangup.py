"""What SIGHUP means: a terminal that was closed, or an operator who asks for new workers.

Both send the same signal, and a shell passes the first one on with kill, as an operator would. But
when a terminal hangs up the kernel takes it from all its processes first.
"""

import os


class Terminal:
    """The terminal that controls this process, if one did from the start."""

    def __init__(self) -> None:
        self._was_there = is_there()

    def is_gone(self) -> bool:
        """Whether there was one, and it has been closed."""
        return self._was_there and not is_there()


def is_there() -> bool:
    """Whether a terminal controls this process (which need not be its standard input)."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
