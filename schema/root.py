"""The roots: a table of contents. A field needs a live session unless it is in PUBLIC."""

from collections.abc import AsyncGenerator

import strawberry

from resolvers import accounts, administration, beginnings, endings, link_codes, news, users
from resolvers import sessions as own_sessions
from schema.types import (
    CreateLinkCodePayload,
    CreateLoginNoncePayload,
    CreateSessionPayload,
    DeleteAccountPayload,
    RenameSessionPayload,
    RevokeSessionPayload,
    RevokeSessionsPayload,
    Session,
    SessionConnection,
    SessionEvent,
    SessionPolicy,
    SetUserDisabledPayload,
    User,
)

PUBLIC = frozenset(
    {"viewer", "currentSession", "sessionPolicy", "createSession", "createLoginNonce"}
)


@strawberry.type
class Query:
    """What can be read."""

    viewer: User | None = strawberry.field(
        resolver=users.viewer, description="The caller's user; null when no credential was sent."
    )
    current_session: Session | None = strawberry.field(
        resolver=own_sessions.current_session,
        description="The caller's own session; null when no credential was sent.",
    )
    my_sessions: list[Session] = strawberry.field(
        resolver=own_sessions.my_sessions,
        description=(
            "The caller's live sessions, all of them: the current one first,"
            " then the most recently active. With includeEnded at most 100 ended ones more,"
            " those that ended last first."
        ),
    )
    session_policy: SessionPolicy = strawberry.field(
        resolver=own_sessions.session_policy, description="What sessions are given."
    )
    sessions: SessionConnection = strawberry.field(
        resolver=administration.sessions,
        description=(
            "Administrators only. Everybody's sessions, newest first, at most 200 a page:"
            " send the endCursor as after for the next one."
        ),
    )


@strawberry.type
class Mutation:
    """What can be done. Send one a request: a failing field takes its siblings' answers along."""

    create_session: CreateSessionPayload = strawberry.mutation(
        resolver=beginnings.create_session,
        description=(
            "Without input.credentials: always a guest (a new user with a generated name) and its"
            " first session; a signed-in caller's session is left alone. With them: a signed-in"
            " caller's own session ends as SUPERSEDED in the same transaction."
        ),
    )
    revoke_session: RevokeSessionPayload = strawberry.mutation(
        resolver=endings.revoke_session,
        description=(
            "Ends a session; without id, the caller's own. Idempotent. Takes effect before it"
            " answers: no request that starts later is accepted with its token."
        ),
    )
    revoke_other_sessions: RevokeSessionsPayload = strawberry.mutation(
        resolver=endings.revoke_other_sessions,
        description="Ends all of the caller's sessions but the one that asks for it.",
    )
    revoke_all_sessions: RevokeSessionsPayload = strawberry.mutation(
        resolver=endings.revoke_all_sessions,
        description="Ends all of the caller's sessions, the one that asks for it too.",
    )
    rename_session: RenameSessionPayload = strawberry.mutation(
        resolver=own_sessions.rename_session,
        description="Calls one of the caller's live sessions something else.",
    )
    refresh_session: CreateSessionPayload = strawberry.mutation(
        resolver=beginnings.refresh_session,
        description=(
            "Mints the current session's token again under the current key: new jti, same exp,"
            " same session. The old token stays good. Needed only for key rotation."
        ),
    )
    create_link_code: CreateLinkCodePayload = strawberry.mutation(
        resolver=link_codes.create_link_code,
        description=(
            "A code with which another device signs in as the caller, once, within five minutes,"
            " as long as the session that made it lives."
        ),
    )
    revoke_sessions: RevokeSessionsPayload = strawberry.mutation(
        resolver=administration.revoke_sessions,
        description=(
            "Administrators only. Live sessions only, never the caller's own; an empty filter is"
            " BAD_USER_INPUT. Works in batches within the request's time limit and answers what it"
            " ended: repeat until revokedCount is 0. dryRun counts and samples, changes nothing."
        ),
    )
    set_user_disabled: SetUserDisabledPayload = strawberry.mutation(
        resolver=administration.set_user_disabled,
        description="Administrators only. Disabling ends all sessions of the user.",
    )
    claim_account: CreateSessionPayload = strawberry.mutation(
        resolver=accounts.claim_account,
        description=(
            "The guest becomes an account: same user, a new session (token); the caller's old one"
            " ends as SUPERSEDED, other devices and open link codes with it (CREDENTIAL_CHANGED)"
            " unless revokeOthers is false."
        ),
    )
    change_password: CreateSessionPayload = strawberry.mutation(
        resolver=accounts.change_password,
        description=(
            "Ends all other sessions (CREDENTIAL_CHANGED), the caller's as SUPERSEDED, and answers"
            " a new one. Without currentPassword only where there is none, or shortly after an"
            " operator's code let the caller in."
        ),
    )
    reauthenticate: CreateSessionPayload = strawberry.mutation(
        resolver=accounts.reauthenticate,
        description=(
            "Fresh proof (password or ID token of the caller's own user; nothing else): a new"
            " session with a new authenticatedAt; the old one ends as SUPERSEDED."
        ),
    )
    link_identity: CreateSessionPayload = strawberry.mutation(
        resolver=accounts.link_identity,
        description=(
            "Links an OIDC identity to the caller's user; a guest becomes an account. A new"
            " session; ends the others as claimAccount does."
        ),
    )
    unlink_identity: CreateSessionPayload = strawberry.mutation(
        resolver=accounts.unlink_identity,
        description=(
            "The last way to sign in cannot be unlinked. Ends the others as CREDENTIAL_CHANGED and"
            " answers a new session."
        ),
    )
    create_login_nonce: CreateLoginNoncePayload = strawberry.mutation(
        resolver=accounts.create_login_nonce,
        description="Server-issued, single-use, for the OIDC nonce.",
    )
    delete_account: DeleteAccountPayload = strawberry.mutation(
        resolver=accounts.delete_account,
        description="Deletes the user and everything of it; ends every session.",
    )


@strawberry.type
class Subscription:
    """What can be waited for, over a WebSocket (graphql-transport-ws) or an event stream."""

    my_session_events: AsyncGenerator[SessionEvent, None] = strawberry.subscription(
        resolver=news.my_session_events,
        description=(
            "What happens to the caller's other sessions from now on; nothing is replayed. One's"
            " own end is the error with which it ends. UPDATED: label or authenticatedAt, never"
            " activity. A deleted row: REVOKED with its last known values."
        ),
    )
