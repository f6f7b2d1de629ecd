"""Logs: lines for people on a terminal, JSON lines elsewhere; our own and every library's alike.

What must never stand in one (tokens, keys, passwords, addresses of databases, what clients sent)
is kept out where the line is written; see docs/security.md.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, TextIO

import orjson
import structlog

from web.bounded import Bounded
from web.log_context import add_request

LEVELS = {"uvicorn.error": logging.WARNING, "alembic": logging.WARNING}
TOGETHER = 2048  # bytes; of more than 4096 a pipe may put another worker's into the middle
UPGRADES = ("Unsupported upgrade request", "No supported WebSocket library")  # advice for nobody


class OfUvicorn(logging.Filter):
    """Lets through what uvicorn says of single requests at a bounded rate, of upgrades nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._bounded = Bounded("http_errors_not_logged")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        return not record.getMessage().startswith(UPGRADES) and self._bounded.admits_one()


def as_json_text(event: object, *, default: Callable[[Any], Any]) -> str:
    """A line; by json itself what orjson refuses: a lone surrogate, a number of 65 bits."""
    try:
        return orjson.dumps(event, default=default).decode()
    except orjson.JSONEncodeError:
        return json.dumps(event, default=default)


class Written:
    """Writes our own lines where the handler writes those of libraries.

    By way of the library's loggers a line costs three times as much, more than anything else that
    a new session takes of the server. What is told (info) leaves with the other lines of one turn
    of the event loop, before what is answered in it: a system call for each is 4 % of a new
    session. What is wrong is written down at once.
    """

    def __init__(self, handler: "logging.StreamHandler[TextIO]") -> None:
        self._handler = handler
        self._waiting = 0  # bytes, at most
        self._flushes: asyncio.AbstractEventLoop | None = None  # at the end of its turn

    def at_once(self, line: str) -> None:
        """Writes a line. Whoever asked for something gets it although nobody reads the log."""
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            try:
                self._handler.stream.write(f"{line}\n")
            except UnicodeEncodeError:  # not in UTF-8: better escaped than lost
                escaped = line.encode("ascii", "backslashreplace").decode()
                self._handler.stream.write(f"{escaped}\n")
            self._flush()

    def in_turn(self, line: str) -> None:
        """Writes a line with others, but no more than a pipe takes as a whole from one of many."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.at_once(line)
            return
        size = len(line) + 1 if line.isascii() else None
        if size is None or self._waiting + size > TOGETHER:
            self.at_once(line)
            return
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            self._handler.stream.write(f"{line}\n")
            self._waiting += size
            if loop is not self._flushes:
                self._flushes = loop
                loop.call_soon(self._flush_in_turn)

    def _flush_in_turn(self) -> None:
        self._flushes = None
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            self._flush()

    def _flush(self) -> None:
        self._waiting = 0
        self._handler.stream.flush()

    debug = info = in_turn
    warning = error = critical = msg = at_once


def configure(log_format: str = "") -> None:
    """Sets up this process's logging: "json", "text", or by what standard output is."""
    as_json = log_format == "json" or (not log_format and not sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        add_request,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(as_json_text)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # others show variables: secrets
        )
    )
    rendered: list[structlog.typing.Processor] = [renderer]
    if as_json:
        rendered.insert(0, structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stdout)
    written = Written(handler)
    structlog.configure(
        processors=[*shared, *rendered],
        logger_factory=lambda *_: written,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *rendered,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.error").filters = [OfUvicorn()]
