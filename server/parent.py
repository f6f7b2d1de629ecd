"""Ends this process when the one that must outlive it is gone, however that died.

A worker whose parent was killed would go on holding the port; so would a server whose `make` was
killed. Looking at the parent's id needs nothing of the kernel's own and works on every system.
"""

import os
import select
import signal
import threading
import time

INTERVAL = 0.5  # seconds
GRACE = 3.0  # seconds for requests under way, then without further ado

is_gone = threading.Event()  # or the terminal is: nobody wants to wait for SHUTDOWN_DELAY


def end_with(pid: int) -> None:
    """Starts watching: once this process's parent is not pid any more, it stops serving.

    So it does when the terminal that it was started on is closed: that tells `make` alone, which
    goes on waiting for us.
    """
    terminal = select.poll() if os.isatty(0) else None
    if terminal:
        terminal.register(0, 0)  # no event but its end
    watch = threading.Thread(target=_watch, args=(pid, terminal), name="parent-watch", daemon=True)
    watch.start()


def _watch(pid: int, terminal: "select.poll | None") -> None:
    while os.getppid() == pid and not (terminal and terminal.poll(0)):
        time.sleep(INTERVAL)
    is_gone.set()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
