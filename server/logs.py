"""Logs: lines for people on a terminal, JSON lines elsewhere; our own and every library's alike.

What must never stand in one (tokens, keys, passwords, addresses of databases, what clients sent)
is kept out where the line is written; see docs/security.md.
"""

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
    a new session takes of the server.
    """

    def __init__(self, handler: "logging.StreamHandler[TextIO]") -> None:
        self._handler = handler

    def msg(self, line: str) -> None:
        """Writes a line. Whoever asked for something gets it although nobody reads the log."""
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            try:
                self._handler.stream.write(f"{line}\n")
            except UnicodeEncodeError:  # not in UTF-8: better escaped than lost
                escaped = line.encode("ascii", "backslashreplace").decode()
                self._handler.stream.write(f"{escaped}\n")
            self._handler.stream.flush()

    debug = info = warning = error = critical = msg


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
