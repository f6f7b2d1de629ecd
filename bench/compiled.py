"""What a compiled operation costs, beside graphql-core's execute: CPU per execution, no database.

Resolvers are stubs, so that nothing but the execution is measured; medians of interleaved rounds.
"""

import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from types import CoroutineType
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import strawberry
from graphql import OperationDefinitionNode, execute, parse

from compiler.plan import compile_operation
from schema.types import Session, SessionClient, SessionStatus, User
from web.operations import core, make_schema

ROUNDS = 11
SECONDS = 0.1  # a round
ROWS = 5
DOCUMENTS = {
    "viewer": "{ viewer { id username } }",
    "list": "{ mySessions { id label status isCurrent createdAt lastActiveAt expiresAt } }",
    "both": "{ viewer { id username } mySessions { id label status createdAt } }",
    "with a user": "{ mySessions { id label user { id username } client { name os } } }",
}
SCHEMA = core(make_schema())


def stub(field: str, resolver: Callable[..., Any]) -> None:
    """Puts a resolver that does nothing into a root field's place."""
    query: Any = SCHEMA.query_type
    query.fields[field].extensions["strawberry-definition"].base_resolver.wrapped_func = resolver


def stub_all() -> None:
    """Stubs the roots of the documents."""
    user = a_user()
    rows = [a_session(user) for _ in range(ROWS)]

    def viewer(info: Any) -> User:
        del info
        return user

    async def my_sessions(info: Any, *, include_ended: bool = False) -> list[Session]:
        del info, include_ended
        return rows

    stub("viewer", viewer)
    stub("mySessions", my_sessions)


def a_user() -> User:
    """Somebody."""
    now = datetime.now(UTC)
    return User(id=strawberry.ID(str(uuid4())), username="otter", is_guest=True, created_at=now)


def a_session(user: User) -> Session:
    """A session as a resolver makes it."""
    now = datetime.now(UTC)
    return Session(
        id=strawberry.ID(str(uuid4())),
        user=user,
        label="quiet otter",
        status=SessionStatus.ACTIVE,
        is_current=False,
        created_at=now,
        last_active_at=now,
        authenticated_at=now,
        expires_at=now,
        idle_expires_at=None,
        revoked_at=None,
        revoked_reason=None,
        client=SessionClient(
            user_agent=None, name="Firefox", os=None, device_type=None, ip_address=None
        ),
    )


def finished(result: Any) -> Any:
    """A result; no stub really waits, so no loop is measured."""
    if not isinstance(result, CoroutineType):
        return result
    return driven(result)


def driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that never waits returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("it waits")


def microseconds(run: Callable[[], Any]) -> float:
    """CPU of one run, over a round."""
    count, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        for _ in range(20):
            run()
        count += 20
    return (time.process_time() - begun) / count * 1e6


def measure(text: str) -> tuple[float, float]:
    """Medians of graphql-core's execution and of the plan's."""
    document = parse(text)
    [operation] = (d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    plan = compile_operation(SCHEMA, document, operation)
    if plan is None:
        raise RuntimeError("it is not compiled")

    def theirs() -> Any:
        return finished(execute(SCHEMA, document, context_value=None))

    def ours() -> Any:
        return finished(plan.execute(None, {}))

    if ours() != theirs():
        raise RuntimeError("the results differ")
    rounds = [(microseconds(theirs), microseconds(ours)) for _ in range(ROUNDS)]
    first, second = zip(*rounds, strict=True)
    return statistics.median(first), statistics.median(second)


def main() -> None:
    """Prints the figures, side by side."""
    stub_all()
    print(f"{'µs of CPU':12} {'graphql-core':>12} {'compiled':>9} {'ratio':>6}")
    for name, text in DOCUMENTS.items():
        theirs, ours = measure(text)
        print(f"{name:12} {theirs:12.1f} {ours:9.1f} {theirs / ours:6.1f}")


if __name__ == "__main__":
    main()
