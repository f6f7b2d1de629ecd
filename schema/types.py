"""The nouns of the contract."""

from datetime import datetime
from enum import Enum

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


@strawberry.type(description="A person, or a guest of whom only a generated name is known.")
class User:
    """The owner of sessions."""

    id: strawberry.ID
    username: str
    is_guest: bool
    created_at: datetime


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
    last_active_at: datetime
    authenticated_at: datetime = strawberry.field(
        description="When its holder last proved who they are."
    )
    expires_at: datetime = strawberry.field(description="The absolute deadline; it never moves.")
    revoked_at: datetime | None
    revoked_reason: SessionRevokedReason | None


@strawberry.type(description="What sessions are given; durations in seconds.")
class SessionPolicy:
    """The operator's policy, for everybody to read."""

    absolute_lifetime: int = strawberry.field(
        description="From a session's creation to its deadline."
    )
    retention: int = strawberry.field(description="How long an ended session is kept.")


@strawberry.type(description="An input that a person can mend; nothing was changed.")
class UserError:
    """Beside an otherwise empty payload."""

    code: UserErrorCode
    message: str
    path: list[str] | None = strawberry.field(description="The input field that it is about.")


@strawberry.input(description="How a session is begun.")
class CreateSessionInput:
    """Without credentials: always a guest."""

    label: str | None = strawberry.field(
        default=strawberry.UNSET, description="What to call it: 1 to 64 characters."
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
