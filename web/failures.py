"""Bugs, as the log tells of them: where they were met, never what a client sent."""

import traceback
from collections.abc import Sequence

import structlog
from graphql import FieldNode, GraphQLError

from auth.errors import Refused
from web.bounded import Bounded
from web.refusals import as_refused, internal_error, write_down

log = structlog.get_logger()


class Failures:
    """Logs what resolvers raised that nobody meant them to raise."""

    def __init__(self) -> None:
        self._lines = Bounded("failures_not_logged")

    def log(self, errors: Sequence[GraphQLError]) -> None:
        """One line for the bugs of a request, which can meet the same one in each of its fields."""
        bugs = [(error, bug) for error in errors if (bug := bug_of(error))]
        if bugs and self._lines.admits_one():
            error, bug = bugs[0]
            log.error("resolver_failed", field=field_of(error), times=len(bugs), **where(bug))


class LastResort:
    """What an exception is told as, written down at a bounded rate."""

    def __init__(self) -> None:
        self._refusals = Bounded("refusals_not_logged")
        self._failures = Bounded("failures_not_logged")

    def refusal(self, error: Exception, refused: Refused | None) -> Refused:
        """The refusal that an exception stands for; that of a bug where it stands for none."""
        if refused:
            self.write(refused, error)
            return refused
        if self._failures.admits_one():
            log.error("request_failed", **where(error))
        return internal_error()

    def write(self, refused: Refused, error: BaseException) -> None:
        """One line about a refusal."""
        if self._refusals.admits_one():
            write_down(refused, error)


def bug_of(error: GraphQLError) -> Exception | None:
    """What a resolver raised that nobody meant it to raise."""
    original = error.original_error
    if isinstance(original, GraphQLError) or as_refused(original):
        return None
    return original


def field_of(error: GraphQLError) -> str | None:
    """The field that failed, by the schema's name: its path has the client's aliases."""
    names = (node.name.value for node in error.nodes or () if isinstance(node, FieldNode))
    return next(names, None)


def where(error: BaseException) -> dict[str, object]:
    """An exception's kind and the places it came through; its text may hold what was sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
