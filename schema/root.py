"""The roots: a table of contents. A field needs a live session unless it is in PUBLIC."""

import strawberry

from resolvers import sessions, users
from schema.types import CreateSessionPayload, RevokeSessionPayload, Session, SessionPolicy, User

PUBLIC = frozenset({"viewer", "currentSession", "sessionPolicy", "createSession"})


@strawberry.type
class Query:
    """What can be read."""

    viewer: User | None = strawberry.field(
        resolver=users.viewer, description="The caller's user; null when no credential was sent."
    )
    current_session: Session | None = strawberry.field(
        resolver=sessions.current_session,
        description="The caller's own session; null when no credential was sent.",
    )
    my_sessions: list[Session] = strawberry.field(
        resolver=sessions.my_sessions,
        description=(
            "The caller's live sessions, all of them: the current one first,"
            " then the most recently active."
        ),
    )
    session_policy: SessionPolicy = strawberry.field(
        resolver=sessions.session_policy, description="What sessions are given."
    )


@strawberry.type
class Mutation:
    """What can be done. Send one a request: a failing field takes its siblings' answers along."""

    create_session: CreateSessionPayload = strawberry.mutation(
        resolver=sessions.create_session,
        description=(
            "Always a guest (a new user with a generated name) and its first session;"
            " a signed-in caller's session is left alone."
        ),
    )
    revoke_session: RevokeSessionPayload = strawberry.mutation(
        resolver=sessions.revoke_session,
        description=(
            "Ends a session; without id, the caller's own. Idempotent. Takes effect before it"
            " answers: no request that starts later is accepted with its token."
        ),
    )
