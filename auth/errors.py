"""What is refused at the door or by the infrastructure. What a person can mend is no exception.

Refused
├── BadRequest         400: the credential is malformed
├── Unauthenticated    401: the token says no, or there is none where one is needed
├── BadUserInput       400: an argument is understood by nobody
├── Forbidden          403: administrators only
├── ProofNotFresh      403: the caller must prove again who they are
├── CrossOrigin        403: a page that is not listed
├── RateLimited        429: too many of these from there
├── TimedOut           503: the search took too long
└── StoreUnavailable   503: nobody can say yes or no

A class's docstring is the message that a client reads.
"""

from datetime import datetime
from enum import StrEnum
from math import ceil

CHALLENGE = "Bearer"


class Reason(StrEnum):
    """Why a token is refused. All but the first only once its signature has verified."""

    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105 - no secret, a word of the contract
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_REVOKED = "SESSION_REVOKED"
    SESSION_EXPIRED = "SESSION_EXPIRED"
    SESSION_IDLE = "SESSION_IDLE"
    USER_DISABLED = "USER_DISABLED"


class Refused(Exception):
    """The request was refused."""

    code = "BAD_REQUEST"
    status = 400
    hint: str  # what to do about it: each has one

    @property
    def message(self) -> str:
        """The sentence that a client reads."""
        return (type(self).__doc__ or "").strip()

    @property
    def extensions(self) -> dict[str, object]:
        """What a program reads; GraphQL puts it beside the message."""
        return {"code": self.code, "hint": self.hint}

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that the status asks for."""
        return {}


class BadRequest(Refused):
    """The credential of this request cannot be read."""

    hint = "Send exactly one header: Authorization: Bearer <token>"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 6750 3.1: invalid_request."""
        return {"WWW-Authenticate": f'{CHALLENGE} error="invalid_request"'}


class Unauthenticated(Refused):
    """This needs a live session."""

    code = "UNAUTHENTICATED"
    status = 401
    hint = (
        "Start anew with the createSession mutation (or POST /session), sent without a token,"
        " and use the token that it answers: Authorization: Bearer <token>"
    )

    def __init__(
        self,
        reason: Reason | None = None,
        *,
        revoked_at: datetime | None = None,
        revoked_reason: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.revoked_at = revoked_at
        self.revoked_reason = revoked_reason

    @property
    def message(self) -> str:
        """Why this token is refused."""
        return MESSAGES[self.reason]

    @property
    def extensions(self) -> dict[str, object]:
        """Beside the code: the reason and, of a revoked session, when and why."""
        told = {
            "reason": self.reason,
            "revokedAt": self.revoked_at and self.revoked_at.isoformat(),
            "revokedReason": self.revoked_reason,
        }
        return super().extensions | {name: value for name, value in told.items() if value}

    @property
    def headers(self) -> dict[str, str]:
        """RFC 6750 3: without a credential no error is named."""
        error = ' error="invalid_token"' if self.reason else ""
        return {"WWW-Authenticate": CHALLENGE + error}


MESSAGES = {
    None: "This needs a live session, and no token was sent.",
    Reason.TOKEN_INVALID: "The token is not one of ours.",
    Reason.TOKEN_EXPIRED: "The token has expired.",
    Reason.SESSION_NOT_FOUND: "The session of this token no longer exists.",
    Reason.SESSION_REVOKED: "The session of this token has been revoked.",
    Reason.SESSION_EXPIRED: "The session of this token has expired.",
    Reason.SESSION_IDLE: "The session of this token has ended because it was not used.",
    Reason.USER_DISABLED: "The user of this token has been disabled.",
}


class BadUserInput(Refused):
    """An argument does not say what it should."""

    code = "BAD_USER_INPUT"

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self._message = message
        self.hint = hint

    @property
    def message(self) -> str:
        """Which argument, and what is wrong with it."""
        return self._message


class Forbidden(Refused):
    """This is for administrators."""

    code = "FORBIDDEN"
    status = 403
    hint = "An operator makes administrators: python app.py users promote"


class ProofNotFresh(Refused):
    """This needs a fresh proof of who you are."""

    code = "REAUTHENTICATION_REQUIRED"
    status = 403
    hint = "Send reauthenticate with a password or an ID token, then this again with its new token"

    def __init__(self, max_age: int) -> None:
        super().__init__(max_age)
        self.max_age = max_age  # seconds

    @property
    def extensions(self) -> dict[str, object]:
        """Beside the code: how old a proof may be."""
        return super().extensions | {"maxAge": self.max_age}


class CrossOrigin(Refused):
    """Pages of this origin may not ask for a session here."""

    code = "FORBIDDEN"
    status = 403
    hint = "List the page's origin in ALLOWED_ORIGINS"


class RateLimited(Refused):
    """Too many of these came from your network."""

    code = "RATE_LIMITED"
    status = 429
    hint = "Send it again after the seconds in Retry-After"

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait  # seconds

    @property
    def headers(self) -> dict[str, str]:
        """RFC 6585 4, RFC 9110 10.2.3, in whole seconds."""
        return {"Retry-After": str(max(1, ceil(self.wait)))}


class TimedOut(Refused):
    """This search looks at too many sessions."""

    code = "TIMEOUT"
    status = 503
    hint = "Name a user (userId or username), which has an index, or search for less"

    @property
    def headers(self) -> dict[str, str]:
        """It takes as long the next time, unless the database is less busy then."""
        return {"Retry-After": "10"}


class StoreUnavailable(Refused):
    """The session store cannot answer at the moment; nothing is known about your session."""

    code = "SESSION_STORE_UNAVAILABLE"
    status = 503
    hint = "Keep the token and send the request again after the seconds in Retry-After"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 10.2.3, in seconds."""
        return {"Retry-After": "1"}
