"""Whether a contender does what it is timed at, looked at before it is timed."""

from typing import Any

from dialects import OPERATIONS, Request
from rows import PER_USER, Rows
from serving import Server

__all__ = ["OPERATIONS", "Wrong", "check"]

FIELDS = 7  # of a session in a list


class Wrong(Exception):
    """A contender's answer is not what it must be."""


async def check(server: Server, rows: Rows) -> None:
    """Looks at each of the contender's operations, and at what it refuses. Raises Wrong."""
    speaks, caller = server.contender.speaks, rows.readers[0]
    viewer = right(server, speaks.viewer(caller), "viewer")
    if server.contender.rows == "none":
        return
    if (viewer["id"], viewer["username"]) != (caller.user_id, caller.username):
        raise Wrong(f"it takes one for another: {viewer}")
    listed = right(server, speaks.list(caller), "list")
    if len(listed) != PER_USER or any(len(session) < FIELDS for session in listed):
        raise Wrong(f"its list is not of {PER_USER} sessions with {FIELDS} fields: {listed}")
    made = right(server, speaks.create(), "create")
    if not await rows.was_created(made["session"]["id"]):
        raise Wrong("rows of the session that it made are missing")
    await check_revocation(server, rows)


async def check_revocation(server: Server, rows: Rows) -> None:
    """Ends a session, and shows what was good until then."""
    speaks = server.contender.speaks
    ((caller, target),) = await rows.targets(1)
    shown = speaks.viewer(rows.shown(caller, target))
    right(server, shown, "viewer")
    right(server, speaks.revoke(caller, target), "")
    if not await rows.was_revoked(target):
        raise Wrong("rows of the session that it ended are missing")
    status, answer = server.ask(shown)
    if caller.username in f"{answer}" or not speaks.refuses(status, answer):
        raise Wrong(f"it lets an ended session in: {status} {answer}")


def right(server: Server, request: Request, operation: str) -> Any:
    """What the answer says, once its status and its mark are right."""
    status, answer = server.ask(request)
    if str(status) != request.status or request.mark.strip('"') not in f"{answer}":
        raise Wrong(f"{operation or 'revoke'} is answered with {status} {answer}")
    return server.contender.speaks.told(answer, operation) if operation else answer
