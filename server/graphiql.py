"""Fetches GraphiQL's files while the server already answers; our own console does till then."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import structlog

from settings import ROOT
from web import pages

PROGRAM = ROOT / "tools" / "fetch_graphiql.py"

log = structlog.get_logger()


@contextmanager
def fetched() -> Iterator[None]:
    """Fetches beside what the block does, if the files are not there; gives up when it ends.

    In a session of its own: Ctrl-C is for the server, and the programs that the fetcher starts
    end with it.
    """
    if pages.installed():
        yield
        return
    fetcher = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, PROGRAM],
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
    """One line about how it went, unless it was told to stop."""
    said, _ = fetcher.communicate()
    if fetcher.returncode >= 0:
        log.info("graphiql", outcome=said.strip())
