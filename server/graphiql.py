"""Fetches third-party files of the pages while the server already answers without them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import structlog

from settings import ROOT, Settings
from web import pages

PROGRAM = ROOT / "tools" / "fetch_graphiql.py"

log = structlog.get_logger()


def missing(settings: Settings) -> list[str]:
    """The sets of files that are served and not there; their names are the fetcher's."""
    wanted = {"graphiql": settings.GRAPHIQL, "qr": settings.SESSIONS_PAGE}
    return [name for name, is_served in wanted.items() if is_served and not pages.installed(name)]


@contextmanager
def fetched(names: list[str]) -> Iterator[None]:
    """Fetches sets of files beside what the block does; gives up when it ends.

    In a session of its own: Ctrl-C is for the server, and the programs that the fetcher starts
    end with it.
    """
    if not names:
        yield
        return
    fetcher = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, PROGRAM, *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    told = Thread(target=tell, args=(fetcher,), daemon=True)
    told.start()
    try:
        yield
    finally:
        if fetcher.poll() is None:
            os.killpg(fetcher.pid, signal.SIGINT)
        told.join()


def tell(fetcher: subprocess.Popen[str]) -> None:
    """A line about how each set went, unless it was told to stop."""
    said, _ = fetcher.communicate()
    if fetcher.returncode >= 0:
        for outcome in said.splitlines():
            log.info("pages", outcome=outcome)
