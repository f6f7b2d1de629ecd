"""The nouns of the contract."""

from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import strawberry


@strawberry.enum(description="Whether a session still lets its token in; on the database's clock.")
class SessionStatus(Enum):
    """A session's state at the moment of reading."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@strawberry.enum(description="Why a session was ended before its deadline.")
class SessionRevokedReason(Enum):
    """The words that user_sessions.revoked_reason may hold."""

    SIGNED_OUT = strawberry.enum_value("SIGNED_OUT", description="By its own device.")
    REVOKED_BY_USER = strawberry.enum_value(
        "REVOKED_BY_USER", description="By another session of the same user."
    )
    REVOKED_BY_ADMIN = strawberry.enum_value(
        "REVOKED_BY_ADMIN", description="By an administrator or an operator."
    )
    SESSION_LIMIT = strawberry.enum_value(
        "SESSION_LIMIT", description="It was the oldest, and its user had too many."
    )
    CREDENTIAL_CHANGED = strawberry.enum_value(
        "CREDENTIAL_CHANGED", description="When a way to sign in was added, changed or removed."
    )
    USER_DISABLED = strawberry.enum_value(
        "USER_DISABLED", description="With all others, when the user was disabled."
    )
    SUPERSEDED = strawberry.enum_value(
        "SUPERSEDED", description="Its device signed in anew, and has another session now."
    )


@strawberry.enum(description="What became of a session that was to be revoked.")
class RevokeSessionStatus(Enum):
    """Outcomes of revokeSession."""

    REVOKED = strawberry.enum_value("REVOKED", description="It was live and has ended now.")
    ALREADY_ENDED = strawberry.enum_value(
        "ALREADY_ENDED", description="It had ended before; nothing changed."
    )
    NOT_FOUND = strawberry.enum_value(
        "NOT_FOUND", description="No session of yours has this id; another user's looks the same."
    )


@strawberry.enum(description="What a person can mend.")
class UserErrorCode(Enum):
    """Codes of UserError."""

    INVALID_LABEL = strawberry.enum_value(
        "INVALID_LABEL", description="A label has 1 to 64 characters, no control characters."
    )
    INVALID_CREDENTIALS = strawberry.enum_value(
        "INVALID_CREDENTIALS", description="Wrong, spent or late: nobody can sign in with these."
    )
    SESSION_LIMIT = strawberry.enum_value(
        "SESSION_LIMIT", description="The user has as many sessions as there may be."
    )
    LINK_CODE_LIMIT = strawberry.enum_value(
        "LINK_CODE_LIMIT", description="The user has as many open codes as there may be."
    )
    INVALID_IDEMPOTENCY_KEY = strawberry.enum_value(
        "INVALID_IDEMPOTENCY_KEY", description="A key has 22 to 128 characters of visible ASCII."
    )
    IDEMPOTENCY_CONFLICT = strawberry.enum_value(
        "IDEMPOTENCY_CONFLICT", description="Another request was sent under this key."
    )
    IDEMPOTENCY_ENDED = strawberry.enum_value(
        "IDEMPOTENCY_ENDED", description="The session that was made under this key has ended."
    )
    NOT_FOUND = strawberry.enum_value(
        "NOT_FOUND", description="Nothing of yours has this id; another user's looks the same."
    )
    INVALID_USERNAME = strawberry.enum_value(
        "INVALID_USERNAME",
        description="3 to 64 ASCII letters, digits, dots, hyphens, underscores; not reserved.",
    )
    USERNAME_TAKEN = strawberry.enum_value(
        "USERNAME_TAKEN", description="Somebody has this name, in whatever case."
    )
    INVALID_PASSWORD = strawberry.enum_value(
        "INVALID_PASSWORD", description="Too short, too long, too common or too near a name."
    )
    ALREADY_CLAIMED = strawberry.enum_value(
        "ALREADY_CLAIMED", description="The caller is an account already."
    )
    CONFIRMATION_MISMATCH = strawberry.enum_value(
        "CONFIRMATION_MISMATCH", description="This is not the caller's user name."
    )
    IDENTITY_TAKEN = strawberry.enum_value(
        "IDENTITY_TAKEN", description="The identity is linked already."
    )
    LAST_CREDENTIAL = strawberry.enum_value(
        "LAST_CREDENTIAL", description="There would be no way left to sign in."
    )


@strawberry.enum(description="What happens to who has all the sessions allowed and signs in.")
class SessionLimitAction(Enum):
    """The policies of the cap."""

    REVOKE_OLDEST = strawberry.enum_value(
        "REVOKE_OLDEST", description="The session made first ends (SESSION_LIMIT)."
    )
    REJECT = strawberry.enum_value("REJECT", description="No session begins (SESSION_LIMIT).")


@strawberry.type(description="An account at an OIDC provider that signs in as the user.")
class Identity:
    """One way to sign in."""

    id: strawberry.ID
    issuer: str
    linked_at: datetime


async def own_identities(
    root: strawberry.Parent["User"], info: strawberry.Info[Any, None]
) -> list[Identity]:
    """A user's identities, read only where they are asked for."""
    rows = await info.context.identities_of(UUID(root.id))
    return [
        Identity(id=strawberry.ID(str(row.id)), issuer=row.issuer, linked_at=row.linked_at)
        for row in rows
    ]


@strawberry.type(description="A person, or a guest of whom only a generated name is known.")
class User:
    """The owner of sessions."""

    id: strawberry.ID
    username: str
    is_guest: bool
    created_at: datetime
    identities: list[Identity] = strawberry.field(
        resolver=own_identities, description="One's own; of anybody else's user none are told."
    )


@strawberry.type(description="What is known of a device; it is what the device says of itself.")
class SessionClient:
    """To know a device again by, not to trust."""

    user_agent: str | None = strawberry.field(description="Its User-Agent header.")
    name: str | None = strawberry.field(description='The program: "Firefox".')
    os: str | None = strawberry.field(description='Its system: "Windows".')
    device_type: str | None = strawberry.field(description="desktop, mobile, tablet or bot.")
    ip_address: str | None = strawberry.field(
        description="Where it was last active; a network, or null, where policy says so."
    )


@strawberry.type(description="One device's stay. Its token is good as long as it is ACTIVE.")
class Session:
    """A session as its owner sees it."""

    id: strawberry.ID = strawberry.field(description="Opaque; never a credential.")
    user: User
    label: str = strawberry.field(description="What a person calls it: two words by default.")
    status: SessionStatus
    is_current: bool = strawberry.field(
        description="Whether it is the caller's own; in a payload with a token: that token's."
    )
    created_at: datetime
    last_active_at: datetime = strawberry.field(
        description="The last use, true to sessionPolicy.activityResolution."
    )
    authenticated_at: datetime = strawberry.field(
        description="When its holder last proved who they are."
    )
    expires_at: datetime = strawberry.field(description="The absolute deadline; it never moves.")
    idle_expires_at: datetime | None = strawberry.field(
        description="When it ends if nothing more happens; null where idling ends nothing."
    )
    revoked_at: datetime | None
    revoked_reason: SessionRevokedReason | None
    client: SessionClient


@strawberry.type(description="What sessions are given; durations in seconds.")
class SessionPolicy:
    """The operator's policy, for everybody to read."""

    absolute_lifetime: int = strawberry.field(
        description="From a session's creation to its deadline."
    )
    idle_timeout: int | None = strawberry.field(
        description="From the last use to the end; null: idling ends nothing."
    )
    max_sessions_per_user: int
    on_limit: SessionLimitAction
    activity_resolution: int = strawberry.field(
        description="How exact lastActiveAt is; idling ends a session so much later."
    )
    retention: int = strawberry.field(description="How long an ended session is kept.")


@strawberry.type(description="An input that a person can mend; nothing was changed.")
class UserError:
    """Beside an otherwise empty payload."""

    code: UserErrorCode
    message: str
    path: list[str] | None = strawberry.field(description="The input field that it is about.")


@strawberry.input(description="A code that createLinkCode answered on another device.")
class LinkCodeInput:
    """Read aloud or typed."""

    code: str = strawberry.field(description="In any case, with or without its hyphens.")


@strawberry.input(description="A user name and its password.")
class PasswordInput:
    """As a person types them."""

    username: str = strawberry.field(description="In any case.")
    password: str


@strawberry.input(description="An OIDC ID token whose nonce createLoginNonce answered.")
class IdTokenInput:
    """From one of the configured providers."""

    token: str


@strawberry.input(one_of=True, description="How somebody proves who they are: one member.")
class CredentialsInput:
    """A login method each."""

    password: strawberry.Maybe[PasswordInput] = None
    id_token: strawberry.Maybe[IdTokenInput] = None
    link_code: strawberry.Maybe[LinkCodeInput] = None


@strawberry.input(description="How a session is begun.")
class CreateSessionInput:
    """Without credentials: always a guest."""

    credentials: CredentialsInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="Who comes back. Without: a new guest, whoever calls.",
    )
    label: str | None = strawberry.field(
        default=strawberry.UNSET, description="What to call it: 1 to 64 characters."
    )
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "22 to 128 random characters. The same request under the same key, within ten minutes,"
            " is answered with the same session and a fresh token. Keep it as secret as a token."
        ),
    )


@strawberry.type(description="A new session and the token that opens it, shown once.")
class CreateSessionPayload:
    """Either a token and a session, or userErrors."""

    token: str | None = strawberry.field(
        description="A JWT. Send it as the header Authorization: Bearer <token>."
    )
    token_type: str = strawberry.field(description="Always Bearer (RFC 6750).")
    expires_at: datetime | None
    session: Session | None
    user_errors: list[UserError]


@strawberry.type(description="What became of the session.")
class RevokeSessionPayload:
    """An outcome, and the session as it is now."""

    status: RevokeSessionStatus
    session: Session | None


@strawberry.type(description="What became of several sessions.")
class RevokeSessionsPayload:
    """How many, and some of them."""

    revoked_count: int
    dry_run: bool = strawberry.field(description="Whether they were only counted.")
    sessions: list[Session] = strawberry.field(description="A sample, of at most 100 of them.")


@strawberry.type(description="A session under its new name, or userErrors.")
class RenameSessionPayload:
    """Either a session, or what is wrong."""

    session: Session | None
    user_errors: list[UserError]


@strawberry.type(description="A code for another device, shown once, or userErrors.")
class CreateLinkCodePayload:
    """Either a code, or why there is none."""

    code: str | None = strawberry.field(
        description="Sixteen letters and digits in groups of four, to be read aloud or typed."
    )
    expires_at: datetime | None
    user_errors: list[UserError]


@strawberry.input(
    description=(
        "Which sessions: all that is set must hold. userId and username have an index, and so has"
        " the list itself, newest first. What else must be looked for among very many sessions may"
        " end as TIMEOUT; it is said then, and nothing was changed."
    )
)
class SessionFilter:
    """One predicate for listing and for ending."""

    user_id: strawberry.ID | None = strawberry.UNSET
    username: str | None = strawberry.field(
        default=strawberry.UNSET, description="The whole name, in any case."
    )
    is_guest: bool | None = strawberry.UNSET
    status: SessionStatus | None = strawberry.UNSET
    label: str | None = strawberry.field(
        default=strawberry.UNSET, description="A part of it, in any case."
    )
    ip_range: str | None = strawberry.field(
        default=strawberry.UNSET, description="An address or a network: 203.0.113.0/24."
    )
    created_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Inclusive."
    )
    created_before: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Exclusive."
    )
    last_active_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Inclusive."
    )
    last_active_before: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Exclusive."
    )


@strawberry.type(description="Where a page of a list stands.")
class PageInfo:
    """As Relay's specification of connections has it."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type(description="A session in a list, and its place there.")
class SessionEdge:
    """As Relay's specification of connections has it."""

    cursor: str
    node: Session


@strawberry.type(description="A page of sessions.")
class SessionConnection:
    """As Relay's specification of connections has it."""

    edges: list[SessionEdge]
    page_info: PageInfo


@strawberry.enum(description="What became of a user who was to be disabled or enabled.")
class SetUserDisabledStatus(Enum):
    """Outcomes of setUserDisabled."""

    CHANGED = strawberry.enum_value("CHANGED", description="It is so from now on.")
    UNCHANGED = strawberry.enum_value("UNCHANGED", description="It was so before.")
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="No user has this id.")


@strawberry.type(description="What became of the user.")
class SetUserDisabledPayload:
    """An outcome, and the user as it is now."""

    user: User | None
    status: SetUserDisabledStatus


@strawberry.type(description="A nonce for one ID token, shown once.")
class CreateLoginNoncePayload:
    """To be sent to the provider."""

    nonce: str
    expires_at: datetime


@strawberry.type(description="Whether the user is gone, or userErrors.")
class DeleteAccountPayload:
    """Either all is deleted, or nothing."""

    deleted: bool
    user_errors: list[UserError]


@strawberry.enum(description="What happened to a session.")
class SessionEventKind(Enum):
    """Kinds of SessionEvent."""

    CREATED = strawberry.enum_value("CREATED", description="A device has signed in.")
    UPDATED = strawberry.enum_value(
        "UPDATED", description="Its label or authenticatedAt changed; activity is no event."
    )
    REVOKED = strawberry.enum_value(
        "REVOKED", description="It was ended; a deleted one is shown as it was last."
    )
    EXPIRED = strawberry.enum_value("EXPIRED", description="A clock has ended it.")


@strawberry.type(description="What happened to another one of the caller's sessions.")
class SessionEvent:
    """One's own end is no event but the error with which everything ends."""

    kind: SessionEventKind
    session: Session
